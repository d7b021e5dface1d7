//! Contexts that come as one file: an archive, which is unpacked, or a file that is all there is.

use kiln_ir::{CopyOp, FileAction, FileOp, GuestPath, HttpSource, Op, SourceOp};

use crate::address::http;

/// The name of the file that a context comes as.
pub const CONTEXT_FILE: &str = "context";

/// The ops of a context that is downloaded: the file, and what comes of it on an empty filesystem: the files
/// of an archive, else the file itself, named [`CONTEXT_FILE`].
#[must_use]
pub fn downloaded_context(url: &str) -> (Op, Op) {
    let http = HttpSource { filename: CONTEXT_FILE.to_owned(), ..http(url) };
    (Op::Source(SourceOp::Http(http)), unpacked_context())
}

/// What makes a context of the file [`CONTEXT_FILE`], which is input 1: see [`downloaded_context`].
#[must_use]
pub fn unpacked_context() -> Op {
    let copy = CopyOp { unpack: true, ..copy_root(&format!("/{CONTEXT_FILE}"), Vec::new()) };
    Op::File(FileOp { actions: vec![FileAction::Copy(copy)] })
}

/// A copy to the root of all that is at `source` in input 1.
pub(crate) fn copy_root(source: &str, ignore: Vec<String>) -> CopyOp {
    CopyOp {
        input: 1,
        source: source.to_owned(),
        wildcard: false,
        required: true,
        dest: GuestPath::root(),
        dest_is_dir: true,
        owner: None,
        mode: None,
        unpack: false,
        include: Vec::new(),
        exclude: Vec::new(),
        ignore,
    }
}
