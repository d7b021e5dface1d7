//! What ops read of their inputs: the digests that their keys are made of.
//!
//! A selection from a snapshot follows from the snapshot alone, so its digest is remembered in the store
//! from build to build. A selection from a context is walked in each build, once.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use kiln_cache::key::Read;
use kiln_cache::select::{SelectError, Selection, select};
use kiln_cache::view::View;
use kiln_ir::{ContentHasher, CopyOp, Digest, GuestPath, Vertex};

use super::{Runner, Value};
use crate::EngineError;
use crate::transfer::Transfer;

/// Selections made in this build, by the tree and what is selected of it.
#[derive(Debug, Default)]
pub(super) struct Selections(Mutex<BTreeMap<(TreeId, Digest), Arc<Selection>>>);

/// The tree that a selection is from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum TreeId {
    Snapshot(Digest),
    Context(std::path::PathBuf),
}

impl Selections {
    fn get(&self, key: &(TreeId, Digest)) -> Option<Arc<Selection>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(key).cloned()
    }

    fn put(&self, key: (TreeId, Digest), selection: &Arc<Selection>) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(key, Arc::clone(selection));
    }
}

impl Runner<'_> {
    /// The digest of exactly what is read.
    pub(super) fn read_digest(
        &self,
        vertex: &Vertex,
        read: &Read<'_>,
        inputs: &[Value],
    ) -> Result<Digest, EngineError> {
        match read {
            Read::Whole { input } => Ok(inputs[*input].snapshot().digest()),
            Read::Bind { input, source, target: _ } => {
                self.subtree_digest(vertex, &inputs[*input], source)
            }
            Read::Copy(copy) => self.selection_digest(vertex, &inputs[copy.input], copy),
            Read::Secret { id } => self.sealed_secret(id),
        }
    }

    /// As [`Self::read_digest`]; nothing where somebody would have to wait for it.
    pub(super) fn peek_digest(
        &self,
        read: &Read<'_>,
        inputs: &[Value],
    ) -> Result<Option<Digest>, EngineError> {
        match read {
            Read::Whole { input } => Ok(Some(inputs[*input].snapshot().digest())),
            Read::Bind { input, source, target: _ } if source.is_root() => {
                Ok(Some(inputs[*input].snapshot().digest()))
            }
            Read::Bind { input, source, target: _ } => {
                self.peek_selection(&inputs[*input], &whole(source))
            }
            Read::Copy(copy) => self.peek_selection(&inputs[copy.input], copy),
            // Its value may come of a pipe.
            Read::Secret { id: _ } => Ok(None),
        }
    }

    fn peek_selection(&self, input: &Value, copy: &CopyOp) -> Result<Option<Digest>, EngineError> {
        let Value::Snapshot(snapshot) = input else {
            return Ok(self.known_selection(input, copy).map(|selection| selection.digest()));
        };
        Ok(self.engine.store.peek_selection(&snapshot.digest(), &selecting(copy))?)
    }

    /// A digest of a secret's value, under the key of the store.
    fn sealed_secret(&self, id: &str) -> Result<Digest, EngineError> {
        let Some(source) = self.request.supplies.secrets.get(id) else {
            return Ok(Digest::of(b""));
        };
        let value = source.read(id)?;
        Ok(self.engine.store.seal()?.digest(&format!("secret {id}"), &value.0))
    }

    /// What `copy` selects of its input, if it was looked at in this build.
    pub(crate) fn known_selection(&self, input: &Value, copy: &CopyOp) -> Option<Arc<Selection>> {
        self.selections.get(&(tree_id(input), selecting(copy)))
    }

    /// What `copy` selects of its input; walked at most once in a build.
    pub(super) fn selection(
        &self,
        vertex: &Vertex,
        input: &Value,
        copy: &CopyOp,
    ) -> Result<Arc<Selection>, EngineError> {
        let key = (tree_id(input), selecting(copy));
        if let Some(known) = self.selections.get(&key) {
            return Ok(known);
        }
        let selected = match input {
            Value::Snapshot(_) => select(&self.view(input)?, copy),
            Value::Context(tree) if self.may_copy_ahead(copy) => {
                let is_new = |size_bytes| self.is_new(vertex, size_bytes);
                select(&tree.copying_ahead(&self.engine.layers, &is_new), copy)
            }
            Value::Context(tree) => select(tree.as_ref(), copy),
        };
        let selection = Arc::new(selected.map_err(|error| located(error, input))?);
        self.selections.put(key, &selection);
        Ok(selection)
    }

    /// Whether large files of a context may be copied before it is known that the step runs.
    fn may_copy_ahead(&self, copy: &CopyOp) -> bool {
        // Of an archive that is unpacked no copy is wanted.
        !copy.unpack
            && !self.request.conduct.require_cached
            && !self.transfer.is_some_and(Transfer::knows_records)
    }

    /// Whether no result of the step is known, or to be taken, that a file of so many bytes could be in.
    fn is_new(&self, vertex: &Vertex, size_bytes: u64) -> bool {
        let known = || self.engine.store.records().has_of_size(&vertex.meta.name, size_bytes);
        // What cannot be told now ends the build when the step is looked up.
        vertex.meta.ignore_cache || !known().unwrap_or(true)
    }

    fn selection_digest(
        &self,
        vertex: &Vertex,
        input: &Value,
        copy: &CopyOp,
    ) -> Result<Digest, EngineError> {
        let Value::Snapshot(snapshot) = input else {
            return Ok(self.selection(vertex, input, copy)?.digest());
        };
        let (tree, selecting) = (snapshot.digest(), selecting(copy));
        let foreign = || self.transfer?.selection(&tree, &selecting);
        let digest = match self.engine.store.selection(&tree, &selecting)?.or_else(foreign) {
            Some(known) => known,
            None => {
                let digest = self.selection(vertex, input, copy)?.digest();
                self.engine.store.put_selection(&tree, &selecting, &digest)?;
                digest
            }
        };
        if let Some(transfer) = self.transfer {
            transfer.note_selection(tree, selecting, digest);
        }
        Ok(digest)
    }

    /// The digest of what stands at a path, as a bind mount shows it.
    fn subtree_digest(
        &self,
        vertex: &Vertex,
        input: &Value,
        path: &GuestPath,
    ) -> Result<Digest, EngineError> {
        if path.is_root() {
            return Ok(input.snapshot().digest());
        }
        self.selection_digest(vertex, input, &whole(path))
    }

    /// All of an input that is a snapshot.
    pub(super) fn view(&self, input: &Value) -> Result<View, EngineError> {
        if let Some(transfer) = self.transfer {
            transfer.bring_lists(input.snapshot().layers())?;
        }
        let layers: Vec<_> = input.snapshot().layers().iter().map(|layer| layer.digest).collect();
        Ok(View::new(&self.engine.layers, &layers)?)
    }
}

/// A source that is missing, with where it was looked for.
fn located(error: SelectError, input: &Value) -> EngineError {
    let SelectError::Missing { .. } = error else { return error.into() };
    let tree = match input {
        Value::Context(tree) => format!("the build context `{}`", tree.path().display()),
        Value::Snapshot(_) => "the files that it is to be copied from".to_owned(),
    };
    EngineError::NoSource { tree, missing: Box::new(error) }
}

/// The copy of exactly one path, with nothing left out.
pub(crate) fn whole(path: &GuestPath) -> CopyOp {
    CopyOp {
        input: 0,
        source: path.as_str().to_owned(),
        wildcard: false,
        required: true,
        dest: GuestPath::root(),
        dest_is_dir: false,
        owner: None,
        mode: None,
        unpack: false,
        include: Vec::new(),
        exclude: Vec::new(),
        ignore: Vec::new(),
    }
}

/// All that decides what a copy selects of a given tree, and how its digest is taken.
fn selecting(copy: &CopyOp) -> Digest {
    // Without `..`: a new field must be put in or left out on purpose.
    let CopyOp {
        input: _,
        source,
        wildcard,
        required,
        dest: _,
        dest_is_dir,
        owner,
        mode,
        unpack,
        include,
        exclude,
        ignore,
    } = copy;
    let mut hasher = ContentHasher::new("kiln selection 2");
    hasher.value(source);
    for flag in [wildcard, required, dest_is_dir, unpack] {
        hasher.value(flag);
    }
    // A digest leaves out what the op overrides.
    hasher.value(&owner.is_some());
    hasher.value(mode);
    hasher.value(include);
    hasher.value(exclude);
    hasher.value(ignore);
    hasher.finish()
}

fn tree_id(value: &Value) -> TreeId {
    match value {
        Value::Snapshot(snapshot) => TreeId::Snapshot(snapshot.digest()),
        Value::Context(tree) => TreeId::Context(tree.path().to_owned()),
    }
}
