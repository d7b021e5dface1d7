//! What the registry of tests does with what is sent to it.

use kiln_image::OciDigest;

use super::{Answer, FaultKind, SeenRequest, State};

impl State {
    /// Answers a request that changes something, or asks after an upload.
    pub(super) fn change(&mut self, request: &SeenRequest) -> Answer {
        match self.fault(&request.path) {
            Some(FaultKind::Status(status, headers)) => return answer(status, headers),
            Some(FaultKind::CutAfter(_)) => {
                // What came was taken, and nobody is told.
                self.take(request);
                let mut cut = answer(0, Vec::new());
                cut.cut_after = Some(0);
                return cut;
            }
            Some(FaultKind::Body(_) | FaultKind::IgnoreRange | FaultKind::NoLength) | None => {}
        }
        self.take(request)
    }

    fn take(&mut self, request: &SeenRequest) -> Answer {
        let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
        if request.method == "PUT" && path.contains("/manifests/") {
            return self.take_manifest(path, request);
        }
        let Some((repository, upload)) = path.split_once("/blobs/uploads/") else {
            return answer(405, Vec::new());
        };
        if request.method == "POST" {
            return self.begin(repository, query);
        }
        let Some(sent) = upload.parse().ok().and_then(|number: usize| self.uploads.get_mut(number))
        else {
            return answer(404, Vec::new());
        };
        if let Some(range) = request.headers.get("content-range")
            && !range.starts_with(&format!("{}-", sent.len()))
        {
            return answer(416, Vec::new());
        }
        sent.extend(&request.body);
        let range = format!("0-{}", sent.len().saturating_sub(1));
        let headers = vec![("Location".to_owned(), path.to_owned()), ("Range".to_owned(), range)];
        match request.method.as_str() {
            "PATCH" => answer(202, headers),
            "PUT" => {
                let digest = OciDigest::of(sent).to_string();
                if parameter(query, "digest").as_deref() != Some(&digest) {
                    return answer(400, Vec::new());
                }
                let blob = ("application/octet-stream".to_owned(), std::mem::take(sent));
                self.content.insert(format!("{repository}/blobs/{digest}"), blob);
                answer(201, Vec::new())
            }
            _ => answer(204, headers),
        }
    }

    fn begin(&mut self, repository: &str, query: &str) -> Answer {
        if let (Some(digest), Some(from)) = (parameter(query, "mount"), parameter(query, "from"))
            && let Some(blob) = self.content.get(&format!("/v2/{from}/blobs/{digest}")).cloned()
        {
            self.content.insert(format!("{repository}/blobs/{digest}"), blob);
            return answer(201, Vec::new());
        }
        self.uploads.push(Vec::new());
        let place = format!("{repository}/blobs/uploads/{}?state=x", self.uploads.len() - 1);
        answer(202, vec![("Location".to_owned(), place)])
    }

    fn take_manifest(&mut self, path: &str, request: &SeenRequest) -> Answer {
        let kind = request.headers.get("content-type").cloned().unwrap_or_default();
        let digest = OciDigest::of(&request.body).to_string();
        let repository = path.split_once("/manifests/").map_or("", |(repository, _)| repository);
        let manifest = (kind, request.body.clone());
        self.content.insert(format!("{repository}/manifests/{digest}"), manifest.clone());
        self.content.insert(path.to_owned(), manifest);
        answer(201, Vec::new())
    }
}

fn answer(status: u16, headers: Vec<(String, String)>) -> Answer {
    Answer { status, headers, body: Vec::new(), cut_after: None }
}

/// A parameter of a query; of what escapes stand for only what names and digests need.
fn parameter(query: &str, name: &str) -> Option<String> {
    let value = query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))?;
    Some(value.replace("%3A", ":").replace("%2F", "/"))
}
