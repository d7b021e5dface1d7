//! Nearest names, for hints.

/// The name that was probably meant.
pub(crate) type Suggestion = Option<&'static str>;

/// Names longer than this are not compared: none of ours is, and the comparison is quadratic.
const MAX_NAME_BYTES: usize = 32;

/// The candidate nearest to a misspelt name, without regard to case, when one is near enough to suggest:
/// at most a third of its characters differ, and never more than three. Of equally near ones the first.
#[must_use]
pub fn nearest<'a>(name: &str, candidates: &[&'a str]) -> Option<&'a str> {
    if name.len() > MAX_NAME_BYTES {
        return None;
    }
    let name = name.to_ascii_lowercase();
    candidates
        .iter()
        .map(|candidate| {
            let distance = strsim::osa_distance(&name, &candidate.to_ascii_lowercase());
            (distance, *candidate)
        })
        .filter(|(distance, candidate)| *distance <= (candidate.len().div_ceil(3)).min(3))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn names_the_nearest_or_none() {
        let names = ["arg", "run", "entrypoint"];
        assert_eq!(nearest("FNTRYPOINT", &names), Some("entrypoint"));
        assert_eq!(nearest("VAR", &names), None);
        assert_eq!(nearest("AGR", &names), Some("arg"));
        assert_eq!(nearest("WRONG", &names), None);
        assert_eq!(nearest(&"x".repeat(100_000), &names), None);
    }
}
