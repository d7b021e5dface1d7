//! Each form of a small graph, and hostile names in all of them.

use std::time::Duration;

use kiln_engine::history::TaskState;
use proptest::prelude::*;

use super::layout::lay_out;
use super::*;

const HOSTILE: &str =
    "</title><script>alert(1)</script><img src=http://127.0.0.1:1/x>\" -->`${x}\\";

fn node(name: &str, inputs: &[usize], state: TaskState, ms: u64) -> Node {
    Node {
        name: name.to_owned(),
        inputs: inputs.to_vec(),
        op: Some("exec".to_owned()),
        place: "Dockerfile:3".to_owned(),
        state: Some(state),
        started: Some(Duration::from_millis(10)),
        duration: Some(Duration::from_millis(ms)),
        slot: Some(0),
        size_bytes: Some(1500),
        key: Some("ab12".to_owned()),
        ..Node::default()
    }
}

fn view() -> View {
    View {
        title: "app".to_owned(),
        facts: vec![("Steps", "4".to_owned())],
        nodes: vec![
            node("FROM base", &[], TaskState::Cached, 1),
            node("RUN a", &[0], TaskState::Done, 1200),
            node("RUN b", &[0], TaskState::Failed, 20),
            node("COPY --from=b", &[1, 2, 2], TaskState::Waiting, 0),
        ],
        critical_path: vec![0, 1],
        duration: Some(Duration::from_secs(2)),
    }
}

#[test]
fn a_tree_shows_each_step_once_with_all_of_its_own() {
    let expected = "\
app
Steps: 4

COPY --from=b  (never started, 0.00s, 1.50kB)
├─ * RUN a  (1.20s, 1.50kB)
│  * FROM base  (cached, 1.50kB)
└─ RUN b  (failed, 0.02s, 1.50kB)
   * FROM base  (cached, 1.50kB)

* took longest in a chain of steps: the critical path
";
    assert_eq!(tree(&view()), expected);
    let mut twice = view();
    twice.nodes[0].inputs.clear();
    twice.nodes.push(node("RUN c", &[3], TaskState::Done, 1));
    twice.nodes.push(node("RUN d", &[3], TaskState::Done, 1));
    let text = tree(&twice);
    assert_eq!(text.matches("COPY --from=b").count(), 2);
    assert_eq!(text.matches('↑').count(), 1, "{text}");
    assert_eq!(text.matches("RUN b").count(), 1, "{text}");
}

#[test]
fn what_the_engine_does_itself_is_in_no_picture() {
    let mut view = view();
    view.nodes.push(Node { op: None, ..node("exporting to image", &[], TaskState::Done, 5) });
    for text in [tree(&view), dot(&view), mermaid(&view)] {
        assert!(!text.contains("exporting"), "{text}");
    }
    let page = html(&view, &[]);
    assert_eq!(page.matches("<g class=\"node ").count(), 4);
    assert_eq!(page.matches("<rect class=\"bar ").count(), 5);
}

#[test]
fn json_has_nodes_and_edges() {
    let graph: serde_json::Value = serde_json::from_str(&json(&view())).unwrap();
    assert_eq!(graph["nodes"][1]["duration_us"], 1_200_000);
    assert_eq!(graph["nodes"][2]["status"], "error");
    assert_eq!(graph["edges"][1], serde_json::json!({"from": 0, "to": 2}));
    assert_eq!(graph["critical_path"], serde_json::json!([0, 1]));
}

#[test]
fn hostile_names_stay_text() {
    let mut hostile = view();
    hostile.title = HOSTILE.to_owned();
    hostile.facts[0].1 = HOSTILE.to_owned();
    for node in &mut hostile.nodes {
        node.name = HOSTILE.to_owned();
        node.error = Some(HOSTILE.to_owned());
        node.place = HOSTILE.to_owned();
        node.op = Some(HOSTILE.to_owned());
        node.key = Some(HOSTILE.to_owned());
    }
    let contents = kiln_engine::history::LayerContents {
        files: vec![kiln_engine::history::LayerFile {
            path: HOSTILE.to_owned(),
            kind: HOSTILE.to_owned(),
            size_bytes: None,
        }],
        count: 1,
        size_bytes: 0,
    };
    let detail = Detail {
        log: vec![HOSTILE.to_owned()],
        log_left_out: 3,
        layers: vec![(HOSTILE.to_owned(), Some(contents)), (HOSTILE.to_owned(), None)],
    };
    let page = html(&hostile, &vec![detail; 4]);
    // All that begins a tag is ours.
    for tag in page.split('<').skip(1) {
        let name = tag.trim_start_matches('/').split([' ', '>']).next().unwrap();
        let known = [
            "!doctype", "html", "head", "meta", "title", "style", "body", "h1", "h2", "h3", "dl",
            "dt", "dd", "div", "svg", "path", "a", "g", "rect", "rect/", "text", "line", "ol",
            "li", "small", "p", "details", "summary", "span", "pre", "table", "tr", "td",
        ];
        assert!(known.contains(&name), "{tag}");
        assert!(!tag.contains(" on") && !tag.contains("javascript:"), "{tag}");
    }
    for address in page.split("href=\"").skip(1).chain(page.split("src=\"").skip(1)) {
        assert!(address.starts_with("#s"), "{address}");
    }
    assert!(page.contains("default-src 'none'"));

    let text = dot(&hostile);
    let quotes = text.replace("\\\\", "").replace("\\\"", "");
    assert!(quotes.lines().all(|line| line.matches('"').count() % 2 == 0), "{text}");
    let text = mermaid(&hostile);
    for line in text.lines().filter(|line| line.contains('[')) {
        assert_eq!(line.matches('"').count(), 2, "{line}");
        let inside = line.split('"').nth(1).unwrap().replace("<br/>", "");
        assert!(!inside.contains(['<', '>', '`', '\\', '&']), "{line}");
    }
}

proptest! {
    /// Any graph is laid out: no two boxes overlap, and each stands below what it reads.
    #[test]
    fn boxes_have_places_of_their_own(shape in prop::collection::vec(
        prop::collection::vec(any::<prop::sample::Index>(), 0..4), 1..40,
    )) {
        let inputs: Vec<Vec<usize>> = shape.iter().enumerate()
            .map(|(index, read)| {
                let read = read.iter().filter(|_| index > 0);
                read.map(|input| input.index(index)).collect()
            })
            .collect();
        let layout = lay_out(&inputs).unwrap();
        for (index, (x, y)) in layout.boxes.iter().enumerate() {
            prop_assert!(*x > 0.0 && *y > 0.0 && *x < layout.width && *y < layout.height);
            for (other_x, other_y) in &layout.boxes[..index] {
                let apart = (x - other_x).abs() >= super::layout::BOX.0
                    || (y - other_y).abs() >= super::layout::BOX.1;
                prop_assert!(apart, "two boxes at {x},{y} and {other_x},{other_y}");
            }
            for &input in &inputs[index] {
                prop_assert!(layout.boxes[input].1 < *y);
            }
        }
    }
}

#[test]
fn what_is_too_large_is_not_drawn() {
    let chain: Vec<Vec<usize>> =
        (0..5000).map(|index| if index == 0 { vec![] } else { vec![index - 1] }).collect();
    assert_eq!(lay_out(&chain), None);
    assert_eq!(lay_out(&[]).unwrap().boxes.len(), 0);
}
