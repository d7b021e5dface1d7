//! Which words open a here document.

use super::of_line;
use crate::text::Text;

/// Name, number, whether tabs are stripped, whether variables are expanded.
fn openings(line: &str) -> Vec<(String, u32, bool, bool)> {
    let mut text = Text::at(0);
    text.push(line, 0);
    of_line(text.whole())
        .into_iter()
        .map(|opening| (opening.name, opening.file_descriptor, opening.strip_tabs, opening.expand))
        .collect()
}

fn names(line: &str) -> Vec<String> {
    openings(line).into_iter().map(|(name, ..)| name).collect()
}

#[test]
fn forms() {
    assert_eq!(openings("RUN <<EOF"), [("EOF".to_owned(), 0, false, true)]);
    assert_eq!(openings("RUN cat 3<<-EOF"), [("EOF".to_owned(), 3, true, true)]);
    assert_eq!(openings("RUN <<'E F'"), [("E F".to_owned(), 0, false, false)]);
    assert_eq!(openings("RUN <<\"EOF\""), [("EOF".to_owned(), 0, false, false)]);
    assert_eq!(openings("RUN <<E\\OF"), [("EOF".to_owned(), 0, false, false)]);
    assert_eq!(openings("RUN <<$E"), [("$E".to_owned(), 0, false, true)]);
}

#[test]
fn several_in_order() {
    assert_eq!(names("RUN paste <<A - <<B > out"), ["A", "B"]);
    assert_eq!(names("RUN x=$(cat <<EOF"), ["EOF"]);
}

#[test]
fn what_opens_nothing() {
    for line in [
        "RUN cat << EOF",
        "RUN cat <<<word",
        "RUN cat<<EOF",
        "RUN echo \"<<EOF\"",
        "RUN echo '<<EOF'",
        "RUN echo \\<<EOF",
        "RUN <<''",
        "RUN <<",
        "RUN echo ${x@Q} <<EOF",
        "RUN echo it's <<EOF",
    ] {
        assert!(names(line).is_empty(), "{line}");
    }
}
