//! Layers merged by their manifests. That the kernel merges them the same way is tested with the layers.

use crate::CacheError;
use crate::layer::tests::Home;
use crate::tree::LastLink;
use crate::view::View;

fn sample(home: &Home) -> View {
    let base = home.layer(
        &[],
        &[
            "etc/",
            "etc/passwd=root",
            "a/",
            "a/1=one",
            "a/2=two",
            "a-b=x",
            "l>etc",
            "f=f",
            "loop>loop",
        ],
    );
    let middle = home.layer(&[base], &["-a/1", "a/3=three", "f/", "f/g=g", "l/", "l/m=m"]);
    let top = home.layer(&[base, middle], &["!a", "a/4=four", "-f", "p>/l/../etc/passwd"]);
    View::new(&home.store, &[base, middle, top]).unwrap()
}

fn names(found: &[crate::view::Found<'_>]) -> Vec<String> {
    let name = |found: &crate::view::Found<'_>| String::from_utf8_lossy(&found.entry.path).into();
    found.iter().map(name).collect()
}

#[test]
fn upper_layers_hide_and_add() {
    let home = Home::new();
    let view = sample(&home);
    assert_eq!(names(&view.children(b"")), ["a", "a-b", "etc", "l", "loop", "p"]);
    assert_eq!(names(&view.children(b"a")), ["a/4"]);
    assert_eq!(names(&view.children(b"l")), ["l/m"]);
    assert!(view.children(b"f").is_empty() && view.children(b"a-b").is_empty());
    for gone in [&b"a/1"[..], b"a/2", b"a/3", b"f", b"f/g", b"l/passwd", b""] {
        assert!(view.lookup(gone).is_none(), "{gone:?}");
    }
    assert!(view.is_dir(b"") && view.is_dir(b"l") && !view.is_dir(b"a-b"));
    let walked = ["a", "a/4", "a-b", "etc", "etc/passwd", "l", "l/m", "loop", "p"];
    assert_eq!(names(&view.walk(b"")), walked);
    assert_eq!(names(&view.walk(b"etc")), ["etc/passwd"]);
}

#[test]
fn files_are_read_through_links_inside_the_root() {
    let home = Home::new();
    let view = sample(&home);
    assert_eq!(view.read_small(b"p", 100).unwrap().unwrap(), b"root");
    assert_eq!(view.read_small(b"../../a/4", 4).unwrap().unwrap(), b"four");
    assert!(matches!(view.read_small(b"a/4", 3), Err(CacheError::TooLarge { .. })));
    assert!(view.read_small(b"etc/shadow", 100).unwrap().is_none());
    assert!(view.read_small(b"etc", 100).unwrap().is_none());
    assert!(matches!(view.read_small(b"loop", 9), Err(CacheError::TooManyLinks { .. })));
    assert_eq!(view.resolve(b"p", LastLink::Keep).unwrap(), b"p");
    assert!(matches!(view.open(b"p"), Err(CacheError::NoSuchFile { .. })), "no link is followed");
    assert!(view.open(b"a/1").is_err());
}

#[test]
fn no_layers_are_an_empty_root() {
    let home = Home::new();
    let view = View::new(&home.store, &[]).unwrap();
    assert!(view.is_dir(b"") && view.walk(b"").is_empty());
}
