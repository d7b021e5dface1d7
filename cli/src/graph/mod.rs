//! Build graphs in all the forms in which they are looked at: functions from a [`View`] to text.
//!
//! A view is made of a build that is over or of one that was only planned; the forms cannot tell but for what is
//! known. All text in a view is a stranger's: each form writes it so that it stays text. Nothing here reads a file or
//! prints.

mod dot;
mod html;
mod json;
mod layout;
mod mermaid;
mod tree;
mod view;

#[cfg(test)]
mod tests;

pub use html::{Detail, html};
pub use view::{Node, View};

/// A graph as JSON.
#[must_use]
pub fn json(view: &View) -> String {
    json::render(view)
}

/// A graph in the language of graphviz.
#[must_use]
pub fn dot(view: &View) -> String {
    dot::render(view)
}

/// A graph in the language of Mermaid.
#[must_use]
pub fn mermaid(view: &View) -> String {
    mermaid::render(view)
}

/// A graph as a tree for people: each step below what needs it, and once with all of its own.
#[must_use]
pub fn tree(view: &View) -> String {
    tree::render(view)
}
