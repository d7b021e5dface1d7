//! A graph as one HTML page that needs nothing but itself.
//!
//! There is no script, and the page's own policy lets none run, nothing be loaded and nothing be sent: names, logs
//! and paths are strangers' texts. All of it is escaped besides, in `escape`, which is the only way for a text into the
//! page.

mod picture;
mod style;
mod timeline;

use std::fmt::Write as _;

use kiln_engine::history::LayerContents;

use super::view::{Node, View, bytes};
use crate::render::state_name;

/// What is shown of a step besides what [`View`] has.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Detail {
    /// The last lines that it wrote, clean.
    pub log: Vec<String>,
    /// How many lines were left out before these.
    pub log_left_out: usize,
    /// Its layers by digest; nothing for one that is not in the store any more.
    pub layers: Vec<(String, Option<LayerContents>)>,
}

/// The page of a graph; `details` are those of its nodes, in their order, or none.
#[must_use]
pub fn html(view: &View, details: &[Detail]) -> String {
    let mut page = Page(String::new());
    page.raw("<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n");
    page.raw(&format!(
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src '{}'; \
         base-uri 'none'; form-action 'none'\">\n",
        style::hash()
    ));
    page.raw("<meta name=\"referrer\" content=\"no-referrer\">\n");
    page.raw("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n");
    page.tag("title", "", &format!("{} – build graph", view.title));
    page.raw(&format!("<style>{}</style>\n</head>\n<body>\n", style::CSS));
    page.tag("h1", "", &view.title);
    facts(&mut page, view);
    page.tag("h2", "", "Graph");
    picture::draw(&mut page, view);
    if view.duration.is_some() {
        page.tag("h2", "", "Time line");
        timeline::draw(&mut page, view);
        critical_path(&mut page, view);
    }
    page.tag("h2", "", "Steps");
    let nothing = Detail::default();
    for (index, node) in view.nodes.iter().enumerate() {
        step(&mut page, (index, node), details.get(index).unwrap_or(&nothing), view);
    }
    page.raw("</body>\n</html>\n");
    page.0
}

fn facts(page: &mut Page, view: &View) {
    page.raw("<dl class=\"facts\">\n");
    for (name, value) in &view.facts {
        page.tag("dt", "", name);
        page.tag("dd", "", value);
    }
    page.raw("</dl>\n");
}

fn critical_path(page: &mut Page, view: &View) {
    if view.critical_path.is_empty() {
        return;
    }
    page.tag("h2", "", "Critical path");
    page.tag(
        "p",
        "",
        "The chain of steps that took longest: more jobs would not have made the build faster.",
    );
    page.raw("<ol>\n");
    for &index in &view.critical_path {
        let node = &view.nodes[index];
        page.raw(&format!("<li><a href=\"#s{index}\">"));
        page.text(&node.label());
        page.raw("</a> ");
        page.tag("small", "", &node.summary());
        page.raw("</li>\n");
    }
    page.raw("</ol>\n");
}

fn step(page: &mut Page, (index, node): (usize, &Node), detail: &Detail, view: &View) {
    let state = node.state.map_or("planned", state_name);
    page.raw(&format!("<details class=\"step {state}\"><summary>"));
    page.tag("span", "class=\"name\"", &node.name);
    page.tag("small", "", &node.summary());
    // What a link leads to is inside, so that browsers open it.
    page.raw(&format!("</summary>\n<div id=\"s{index}\">\n"));
    if let Some(error) = &node.error {
        page.tag("p", "class=\"failure\"", error);
    }
    page.raw("<dl class=\"facts\">\n");
    for (name, value) in
        [("In", node.place.as_str()), ("Kind", node.op.as_deref().unwrap_or_default())]
    {
        if !value.is_empty() {
            page.tag("dt", "", name);
            page.tag("dd", "", value);
        }
    }
    if let Some(key) = &node.key {
        page.tag("dt", "", "Cache key");
        page.tag("dd", "class=\"digest\"", key);
    }
    page.raw("</dl>\n");
    inputs(page, node, view);
    log(page, detail);
    for (digest, contents) in &detail.layers {
        layer(page, digest, contents.as_ref());
    }
    page.raw("</div></details>\n");
}

fn inputs(page: &mut Page, node: &Node, view: &View) {
    if node.inputs.is_empty() {
        return;
    }
    page.raw("<p>Reads ");
    for (place, &input) in node.inputs.iter().enumerate() {
        page.raw(if place == 0 { "" } else { ", " });
        page.raw(&format!("<a href=\"#s{input}\">"));
        page.text(&view.nodes[input].label());
        page.raw("</a>");
    }
    page.raw("</p>\n");
}

fn log(page: &mut Page, detail: &Detail) {
    if detail.log.is_empty() {
        return;
    }
    page.tag("h3", "", "Log");
    if detail.log_left_out > 0 {
        let left_out = format!(
            "{} lines before these are left out; `kiln history logs` has them.",
            detail.log_left_out
        );
        page.tag("p", "", &left_out);
    }
    page.tag("pre", "", &detail.log.join("\n"));
}

fn layer(page: &mut Page, digest: &str, contents: Option<&LayerContents>) {
    page.tag("h3", "", "Layer");
    page.tag("p", "class=\"digest\"", digest);
    let Some(contents) = contents else {
        page.tag("p", "", "The layer is not in the store any more.");
        return;
    };
    let LayerContents { files, count, size_bytes } = contents;
    let shown = if files.len() < *count {
        format!(", of which the first {} are shown", files.len())
    } else {
        String::new()
    };
    page.tag("p", "", &format!("{count} paths, {}{shown}.", bytes(*size_bytes)));
    page.raw("<table>\n");
    for file in files {
        page.raw("<tr>");
        page.tag("td", "", &format!("/{}", file.path));
        page.tag("td", "class=\"size\"", &file.size_bytes.map(bytes).unwrap_or_default());
        let kind = if file.kind == "file" { "" } else { file.kind.as_str() };
        page.tag("td", "", kind);
        page.raw("</tr>\n");
    }
    page.raw("</table>\n");
}

/// A page that is being written.
struct Page(String);

impl Page {
    /// Adds markup of our own.
    fn raw(&mut self, markup: &str) {
        self.0.push_str(markup);
    }

    /// Adds a text.
    fn text(&mut self, text: &str) {
        escape(&mut self.0, text);
    }

    /// Adds an element that holds a text and nothing else. The attributes are our own.
    fn tag(&mut self, name: &str, attributes: &str, text: &str) {
        let gap = if attributes.is_empty() { "" } else { " " };
        // Writing to a string cannot fail.
        let _written = write!(self.0, "<{name}{gap}{attributes}>");
        self.text(text);
        let _written = writeln!(self.0, "</{name}>");
    }
}

/// Writes a text so that it stays one, between tags and in attributes. What HTML has no place for becomes a mark.
fn escape(out: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\n' | '\t' => out.push(c),
            c if kiln_frontend::steers(c) => out.push(char::REPLACEMENT_CHARACTER),
            c => out.push(c),
        }
    }
}
