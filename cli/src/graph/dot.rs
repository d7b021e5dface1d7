//! The language of graphviz: `dot -Tsvg`.

use kiln_engine::history::TaskState;

use super::view::View;

pub(super) fn render(view: &View) -> String {
    let mut text = String::from("digraph build {\n");
    text.push_str(&format!("  label={};\n", quoted(&view.title)));
    text.push_str("  rankdir=TB;\n  node [shape=box, style=\"rounded,filled\", fillcolor=white, fontname=\"sans-serif\"];\n");
    let mut critical = vec![false; view.nodes.len()];
    view.critical_path.iter().for_each(|&step| critical[step] = true);
    for (index, node) in view.steps() {
        let summary = node.summary();
        let label =
            if summary.is_empty() { node.label() } else { format!("{}\n{summary}", node.label()) };
        let mut attributes = format!("label={}", quoted(&label));
        if let Some(colour) = node.state.and_then(colour) {
            attributes.push_str(&format!(", fillcolor=\"{colour}\""));
        }
        if critical[index] {
            attributes.push_str(", penwidth=3");
        }
        attributes.push_str(&format!(", tooltip={}", quoted(&node.name)));
        text.push_str(&format!("  n{index} [{attributes}];\n"));
    }
    for (index, node) in view.steps() {
        for &input in &node.inputs {
            let style = if critical[index] && critical[input] { " [penwidth=3]" } else { "" };
            text.push_str(&format!("  n{input} -> n{index}{style};\n"));
        }
    }
    text.push_str("}\n");
    text
}

const fn colour(state: TaskState) -> Option<&'static str> {
    match state {
        TaskState::Cached => Some("#d7f0dd"),
        TaskState::Done => Some("#dbe8fb"),
        TaskState::Failed => Some("#f9d3d3"),
        TaskState::Cancelled | TaskState::Running => Some("#f8ecc8"),
        TaskState::Waiting => None,
    }
}

/// A string of the language. A backslash begins an escape of its own in labels, such as `\G`.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            // Labels know the entities of HTML.
            '&' => quoted.push_str("&amp;"),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}
