//! The graph as SVG within the page: a box for each step, which leads to what is known of it.

use super::super::layout::{BOX, Layout, Way, lay_out};
use super::super::view::{Node, View};
use super::Page;
use crate::render::state_name;

/// Characters that a box has room for.
const BOX_CHARS: usize = 42;

pub(super) fn draw(page: &mut Page, view: &View) {
    let steps: Vec<(usize, &Node)> = view.steps().collect();
    let mut places = vec![0; view.nodes.len()];
    steps.iter().enumerate().for_each(|(place, (index, _))| places[*index] = place);
    let inputs =
        |(_, node): &(usize, &Node)| node.inputs.iter().map(|&input| places[input]).collect();
    let inputs: Vec<Vec<usize>> = steps.iter().map(inputs).collect();
    let Some(layout) = lay_out(&inputs) else {
        page.tag("p", "", "The graph is too large to be drawn; the steps are listed below.");
        return;
    };
    let mut critical = vec![false; view.nodes.len()];
    view.critical_path.iter().for_each(|&step| critical[step] = true);
    let Layout { boxes, edges, width, height } = &layout;
    page.raw(&format!(
        "<div class=\"scroll\"><svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" \
         height=\"{height:.0}\" viewBox=\"0 0 {width:.0} {height:.0}\" role=\"img\">\n"
    ));
    for way in edges {
        let on_path = critical[steps[way.from].0] && critical[steps[way.to].0];
        let class = if on_path { "way critical" } else { "way" };
        page.raw(&format!("<path class=\"{class}\" d=\"{}\"/>\n", path(way, boxes)));
    }
    for (step, place) in steps.iter().zip(boxes) {
        draw_box(page, *step, *place, critical[step.0]);
    }
    page.raw("</svg></div>\n");
}

fn draw_box(page: &mut Page, (index, node): (usize, &Node), (x, y): (f64, f64), critical: bool) {
    let state = node.state.map_or("planned", state_name);
    let critical = if critical { " critical" } else { "" };
    let (left, top) = (x - BOX.0 / 2.0, y - BOX.1 / 2.0);
    page.raw(&format!("<a href=\"#s{index}\"><g class=\"node {state}{critical}\">"));
    page.tag("title", "", &node.name);
    page.raw(&format!(
        "<rect x=\"{left:.1}\" y=\"{top:.1}\" width=\"{}\" height=\"{}\" rx=\"6\"/>",
        BOX.0, BOX.1
    ));
    let summary = node.summary();
    let baseline = if summary.is_empty() { y + 4.0 } else { y - 3.0 };
    page.tag("text", &format!("x=\"{:.1}\" y=\"{baseline:.1}\"", left + 10.0), &cut(&node.name));
    if !summary.is_empty() {
        let place = format!("class=\"sub\" x=\"{:.1}\" y=\"{:.1}\"", left + 10.0, y + 14.0);
        page.tag("text", &place, &summary);
    }
    page.raw("</g></a>\n");
}

/// A curve from the lower side of one box to the upper side of another, upright at each point on the way.
fn path(way: &Way, boxes: &[(f64, f64)]) -> String {
    let (from, to) = (boxes[way.from], boxes[way.to]);
    let stops: Vec<(f64, f64)> = [(from.0, from.1 + BOX.1 / 2.0)]
        .into_iter()
        .chain(way.points.iter().copied())
        .chain([(to.0, to.1 - BOX.1 / 2.0)])
        .collect();
    let mut path = format!("M{:.1} {:.1}", stops[0].0, stops[0].1);
    for pair in stops.windows(2) {
        let [(x0, y0), (x1, y1)] = [pair[0], pair[1]];
        let middle = f64::midpoint(y0, y1);
        path.push_str(&format!(" C{x0:.1} {middle:.1} {x1:.1} {middle:.1} {x1:.1} {y1:.1}"));
    }
    path
}

fn cut(text: &str) -> String {
    if text.chars().count() <= BOX_CHARS {
        return text.to_owned();
    }
    text.chars().take(BOX_CHARS - 1).chain(['…']).collect()
}
