//! The time line as SVG within the page: a row for each job slot, a bar for each step that ran in it.

use std::time::Duration;

use super::super::view::{Node, View, seconds};
use super::Page;
use crate::render::state_name;

/// The width of the whole build, in pixels.
const WIDTH: f64 = 1160.0;
/// The height of a row, and of the bar in it.
const ROW: f64 = 26.0;
const BAR: f64 = 20.0;
/// The height of what says the times.
const AXIS: f64 = 22.0;
/// Marks on the axis.
const MARKS: u32 = 8;
/// The width that a character of a bar's name takes.
const CHAR_WIDTH: f64 = 7.0;
/// The most bars that are drawn: the longest.
const MAX_BARS: usize = 5000;

pub(super) fn draw(page: &mut Page, view: &View) {
    let whole = view.duration.unwrap_or_default().as_secs_f64().max(1e-6);
    let rows = view.nodes.iter().flat_map(|node| node.slot).max().map_or(0, |last| last + 1);
    let height = AXIS + rows as f64 * ROW;
    page.raw(&format!(
        "<div class=\"scroll\"><svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{:.0}\" \
         height=\"{height:.0}\" viewBox=\"0 0 {:.0} {height:.0}\" role=\"img\">\n",
        WIDTH + 20.0,
        WIDTH + 20.0
    ));
    for mark in 0..=MARKS {
        let part = f64::from(mark) / f64::from(MARKS);
        let x = 5.0 + part * WIDTH;
        let place = format!("class=\"axis-name\" x=\"{:.1}\" y=\"14\"", x.min(WIDTH - 30.0));
        page.tag("text", &place, &seconds(Duration::from_secs_f64(part * whole)));
        page.raw(&format!(
            "<line class=\"axis\" x1=\"{x:.1}\" y1=\"{AXIS}\" x2=\"{x:.1}\" y2=\"{height:.1}\"/>\n"
        ));
    }
    for index in longest(&view.nodes) {
        let node = &view.nodes[index];
        let (Some(slot), Some(started)) = (node.slot, node.started) else { continue };
        let start = started.as_secs_f64() / whole * WIDTH;
        let took = node.duration.map_or(whole - started.as_secs_f64(), |took| took.as_secs_f64());
        let width = (took / whole * WIDTH).max(1.0);
        let critical = view.critical_path.contains(&index);
        bar(page, (index, node), (5.0 + start, AXIS + slot as f64 * ROW, width), critical);
    }
    page.raw("</svg></div>\n");
}

fn bar(
    page: &mut Page,
    (index, node): (usize, &Node),
    (x, y, width): (f64, f64, f64),
    critical: bool,
) {
    let state = node.state.map_or("planned", state_name);
    let critical = if critical { " critical" } else { "" };
    page.raw(&format!("<a href=\"#s{index}\">"));
    page.raw(&format!(
        "<rect class=\"bar {state}{critical}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" \
         height=\"{BAR}\" rx=\"3\">"
    ));
    page.tag("title", "", &format!("{} ({})", node.name, node.summary()));
    page.raw("</rect>");
    let room = (width / CHAR_WIDTH) as usize;
    if room > 3 {
        let name: String = if node.name.chars().count() <= room {
            node.name.clone()
        } else {
            node.name.chars().take(room - 1).chain(['…']).collect()
        };
        let place = format!("class=\"bar-name\" x=\"{:.1}\" y=\"{:.1}\"", x + 4.0, y + 14.0);
        page.tag("text", &place, &name);
    }
    page.raw("</a>\n");
}

/// The steps that took longest, in their order.
fn longest(nodes: &[Node]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..nodes.len()).collect();
    order.sort_by_key(|&index| std::cmp::Reverse(nodes[index].duration));
    order.truncate(MAX_BARS);
    order.sort_unstable();
    order
}
