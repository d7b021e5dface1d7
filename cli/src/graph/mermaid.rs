//! The language of Mermaid, as Markdown's code blocks have it.

use kiln_engine::history::TaskState;

use super::view::View;
use crate::render::state_name;

pub(super) fn render(view: &View) -> String {
    let mut text = String::from("flowchart TD\n");
    let mut critical = vec![false; view.nodes.len()];
    view.critical_path.iter().for_each(|&step| critical[step] = true);
    for (index, node) in view.steps() {
        let summary = node.summary();
        let summary =
            if summary.is_empty() { summary } else { format!("<br/>{}", escaped(&summary)) };
        let class = node.state.map(|state| format!(":::{}", state_name(state))).unwrap_or_default();
        text.push_str(&format!("  n{index}[\"{}{summary}\"]{class}\n", escaped(&node.label())));
    }
    let mut thick = Vec::new();
    let mut edges = 0;
    for (index, node) in view.steps() {
        for &input in &node.inputs {
            text.push_str(&format!("  n{input} --> n{index}\n"));
            if critical[index] && critical[input] {
                thick.push(edges.to_string());
            }
            edges += 1;
        }
    }
    if !thick.is_empty() {
        text.push_str(&format!("  linkStyle {} stroke-width:4px\n", thick.join(",")));
    }
    for (state, style) in STYLES {
        let name = state_name(state);
        if view.nodes.iter().any(|node| node.state == Some(state)) {
            text.push_str(&format!("  classDef {name} {style}\n"));
        }
    }
    text
}

const STYLES: [(TaskState, &str); 6] = [
    (TaskState::Cached, "fill:#d7f0dd"),
    (TaskState::Done, "fill:#dbe8fb"),
    (TaskState::Failed, "fill:#f9d3d3"),
    (TaskState::Cancelled, "fill:#f8ecc8"),
    (TaskState::Running, "fill:#f8ecc8"),
    (TaskState::Waiting, "fill:#ffffff"),
];

/// Text within quotes. Mermaid has entities by number and reads Markdown in labels, so all that could mean anything
/// is written as one.
fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for c in text.chars() {
        if c.is_alphanumeric()
            || matches!(c, ' ' | '.' | ',' | ':' | '/' | '-' | '=' | '(' | ')' | '[' | ']' | '…')
        {
            escaped.push(c);
        } else {
            escaped.push_str(&format!("#{};", u32::from(c)));
        }
    }
    escaped
}
