//! A tree for people: what is wanted at the top, what it reads below.
//!
//! A step that reads one other stands right above it, so that chains do not drift to the right. A step that several
//! read is shown with what it reads the first time, and by its name with `↑` after that: the text has a line for each
//! edge.

use super::view::View;

/// Bytes of rails, three or five a level; what is deeper stands at this depth.
const RAILS_MAX: usize = 600;

/// A line to come: the step, what stands before it, and what stands before the lines below it.
struct Branch {
    step: usize,
    before: String,
    below: String,
}

pub(super) fn render(view: &View) -> String {
    let mut text = format!("{}\n", view.title);
    for (name, value) in &view.facts {
        text.push_str(&format!("{name}: {value}\n"));
    }
    text.push('\n');
    let root = |step| Branch { step, before: String::new(), below: String::new() };
    let mut pending: Vec<Branch> = view.ends().into_iter().rev().map(root).collect();
    let mut shown = vec![false; view.nodes.len()];
    let mut critical = vec![false; view.nodes.len()];
    view.critical_path.iter().for_each(|&step| critical[step] = true);
    while let Some(Branch { step, before, below }) = pending.pop() {
        let inputs = distinct(&view.nodes[step].inputs);
        let again = std::mem::replace(&mut shown[step], true) && !inputs.is_empty();
        text.push_str(&before);
        text.push_str(&line(view, step, critical[step]));
        text.push_str(if again { " ↑\n" } else { "\n" });
        if again {
            continue;
        }
        let below = if below.len() > RAILS_MAX { String::new() } else { below };
        let last = inputs.len().saturating_sub(1);
        for (place, &input) in inputs.iter().enumerate().rev() {
            let (here, under) = match (last, place == last) {
                (0, _) => ("", ""),
                (_, true) => ("└─ ", "   "),
                (_, false) => ("├─ ", "│  "),
            };
            let (before, below) = (format!("{below}{here}"), format!("{below}{under}"));
            pending.push(Branch { step: input, before, below });
        }
    }
    if !view.critical_path.is_empty() {
        text.push_str("\n* took longest in a chain of steps: the critical path\n");
    }
    text
}

fn line(view: &View, step: usize, critical: bool) -> String {
    let node = &view.nodes[step];
    let mark = if critical { "* " } else { "" };
    let summary = node.summary();
    let summary = if summary.is_empty() { summary } else { format!("  ({summary})") };
    format!("{mark}{}{summary}", node.label())
}

/// Each input once, in order.
fn distinct(inputs: &[usize]) -> Vec<usize> {
    let mut distinct = Vec::with_capacity(inputs.len());
    for &input in inputs {
        if !distinct.contains(&input) {
            distinct.push(input);
        }
    }
    distinct
}
