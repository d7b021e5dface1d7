//! Graphs of Dockerfiles and of builds, as the programs take them that they are for.

use std::fs;
use std::io::Write as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::Value;

use super::support::build::Kiln;
use super::support::{Work, bases, have, output, tool};

const APP: &str = "\
FROM base AS one
RUN echo one > /one && sleep 0.3
FROM base AS two
RUN echo two > /two
FROM base
COPY --from=one /one /
COPY --from=two /two /
";

/// A kiln, its base as an argument, and a context; nothing where there is no base.
fn app(work: &Work, dockerfile: &str) -> Option<(Kiln, String, PathBuf)> {
    let base = bases::busybox()?;
    let layout = format!("--build-context=base=oci-layout://{}", base.display());
    Some((Kiln::at(work.path("store")), layout, work.context("context", dockerfile)))
}

#[test]
fn graphs_of_plans_and_of_builds() {
    let work = Work::new();
    let Some((kiln, layout, context)) = app(&work, APP) else { return };
    let context = context.to_str().unwrap();
    let planned = kiln.print(&["graph", &layout, context]);
    assert!(planned.contains("[stage-2 3/3] COPY --from=two /two /\n├─ "), "{planned}");
    assert!(!planned.contains("cached"), "{planned}");
    let planned = kiln.print(&["graph", "--target=one", "--format=json", &layout, context]);
    let planned: Value = serde_json::from_str(&planned).unwrap();
    assert_eq!(planned["nodes"].as_array().unwrap().len(), 2);
    assert_eq!(planned["edges"], serde_json::json!([{"from": 0, "to": 1}]));
    assert!(planned["nodes"][1]["place"].as_str().unwrap().ends_with("Dockerfile:2"));
    // Nothing was built.
    assert_eq!(kiln.print(&["history", "ls"]).lines().count(), 1);

    kiln.build(Path::new(context)).arg(&layout).run();
    let built = kiln.print(&["graph", "--build"]);
    assert!(built.contains("* [one 2/2] RUN echo one > /one && sleep 0.3  ("), "{built}");
    assert!(!built.contains("* [two 2/2]"), "{built}");
    let built = kiln.print(&["graph", "--build", "^0", "--format=json"]);
    let built: Value = serde_json::from_str(&built).unwrap();
    let one = built["nodes"]
        .as_array()
        .unwrap()
        .iter()
        .find(|node| node["name"].as_str().unwrap().starts_with("[one 2/2]"));
    let one = one.unwrap();
    assert!(one["duration_us"].as_u64() > Some(290_000), "{one}");
    assert_eq!((one["layers"].as_array().unwrap().len(), &one["size_bytes"]), (1, &4.into()));
    assert!(!kiln.command(&["graph", "--build", "^0", context]).output().unwrap().status.success());
}

#[test]
fn graphviz_takes_the_graph() {
    let work = Work::new();
    let hostile = "FROM base\nRUN echo \"a\\\\\" '\\G \\\"x' '<b>&amp;' ; true\n";
    let Some((kiln, layout, context)) = app(&work, hostile) else { return };
    if !have(&["dot"]) {
        return;
    }
    kiln.build(&context).arg(&layout).run();
    for arguments in [
        &["graph", "--format=dot", "--build"][..],
        &["graph", "--format=dot", &layout, context.to_str().unwrap()],
    ] {
        let graph = work.write("graph.dot", kiln.print(arguments));
        let svg = output(tool("dot").arg("-Tsvg").arg(graph));
        assert!(svg.contains("[2/2] RUN echo"), "{svg}");
        assert!(svg.contains("&lt;b&gt;&amp;amp;"), "{svg}");
    }
}

/// What a browser makes of a page.
fn dom(work: &Work, page: &Path) -> String {
    let profile = format!("--user-data-dir={}", work.path("profile").display());
    let mut command = tool("chromium");
    command.args(["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", &profile]);
    command.args(["--disable-background-networking", "--dump-dom"]);
    command.env("HOME", work.path("home")).stderr(Stdio::null());
    output(command.arg(format!("file://{}", page.display())))
}

#[test]
fn a_browser_shows_the_page_and_nothing_of_it_comes_alive() {
    let work = Work::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let lure = format!("http://{}/x", listener.local_addr().unwrap());
    let hostile = format!(
        "FROM base AS one\n\
         RUN echo '</pre><script>document.title=\"owned\"</script><img src={lure}>' \
         && touch '/<img src=x onerror=fetch()>' '/<style>@import url(x)'\n\
         FROM one\nRUN echo '\"><svg onload=fetch(\"{lure}\")>' >&2; printf '\\033[31mred\\033[0m\\n'\n"
    );
    let Some((kiln, layout, context)) = app(&work, &hostile) else { return };
    if !have(&["chromium"]) {
        return;
    }
    kiln.build(&context).arg(&layout).run();
    let page = work.path("page.html");
    kiln.print(&["graph", "--build", "--format=html", "-o", page.to_str().unwrap()]);
    let dom = dom(&work, &page);
    let count = |part: &str| dom.matches(part).count();
    let tasks: Value =
        serde_json::from_str(&kiln.print(&["graph", "--build", "--format=json"])).unwrap();
    let tasks = tasks["nodes"].as_array().unwrap();
    let steps = tasks.iter().filter(|task| !task["op"].is_null()).count();
    assert_eq!((count("<g class=\"node "), count("<details")), (steps, tasks.len()), "{dom}");
    assert!(dom.contains("<title>context – build graph</title>"), "{dom}");
    assert!(dom.contains("/&lt;img src="), "the files of layers are listed: {dom}");
    assert!(dom.contains("\nred</pre>") || dom.contains("<pre>red"), "{dom}");
    for element in ["<script", "<img", "<iframe", "onload=", "<link"] {
        let live = dom.match_indices(element).filter(|(at, _)| {
            // An attribute counts only within a tag of the page.
            element.starts_with('<') || dom[..*at].rfind('<') > dom[..*at].rfind('>')
        });
        assert_eq!(live.count(), 0, "{element}: {dom}");
    }
    let nobody = listener.accept().unwrap_err();
    assert_eq!(nobody.kind(), std::io::ErrorKind::WouldBlock);

    // The same names in a page of which the policy is gone: it is the escaping that holds, too.
    let text = fs::read_to_string(&page).unwrap();
    let bare: String = text
        .lines()
        .filter(|line| !line.contains("Content-Security-Policy"))
        .collect::<Vec<_>>()
        .join("\n");
    assert!(bare.len() < text.len());
    let mut file = fs::File::create(work.path("bare.html")).unwrap();
    file.write_all(bare.as_bytes()).unwrap();
    assert!(
        super::graph::dom(&work, &work.path("bare.html"))
            .contains("<title>context – build graph</title>")
    );
    assert_eq!(listener.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
}
