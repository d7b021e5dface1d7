//! What is kept of actions beside their records, and how it goes.

use kiln_ir::{ExecOp, GuestPath, NetworkMode, Op, SecurityMode, Vertex, VertexMeta};

use super::*;
use crate::RecordStore as _;
use crate::account::{Account, Discretion, Listing, Taken};
use crate::gc::Wanted;
use crate::key::Read;
use crate::tree::{Entry, Manifest, Meta, Mtime, Node};

const OPEN: Discretion<'_> =
    Discretion { is_secret: &|_| false, seal: &|_| Digest::of(b""), is_argument: &|_| false };

fn row(name: &str, step: u64, made_ms: i64) -> AccountRow {
    let op = Op::Exec(ExecOp {
        args: vec![name.to_owned()],
        env: Vec::new(),
        cwd: GuestPath::root(),
        user: String::new(),
        hostname: None,
        network: NetworkMode::Default,
        security: SecurityMode::Sandbox,
        mounts: Vec::new(),
        proxy_env: Vec::new(),
        devices: Vec::new(),
        extra_hosts: Vec::new(),
    });
    let meta = VertexMeta { name: name.to_owned(), ..VertexMeta::default() };
    let vertex = Vertex { op, inputs: Vec::new(), meta };
    let root = Taken::of(&Read::Whole { input: 0 }, Digest::of(b"root"), None);
    AccountRow {
        key: key(name),
        stage: Digest::of(b"stage"),
        step,
        made_ms,
        missed: Missed::New,
        account: Account::of(&vertex, vec![root], OPEN),
    }
}

fn listing_of(name: &str) -> Listing {
    let entry = Entry {
        path: name.as_bytes().to_vec(),
        node: Node::Fifo,
        meta: Meta::default(),
        mtime: Mtime::default(),
    };
    Listing::of_layer(&Manifest::new(vec![entry]).unwrap())
}

fn stage(store: &Store) -> Vec<String> {
    let rows = store.accounts_of_stage((&Digest::of(b"stage"), "exec"), i64::MAX, 100).unwrap();
    rows.into_iter().map(|row| row.account.name).collect()
}

fn count(store: &Store, table: &str) -> i64 {
    let query = format!("SELECT count(*) FROM {table}");
    store.db.read("count", |db| db.query_row(&query, [], |row| row.get(0))).unwrap()
}

#[test]
fn accounts_of_a_stage_come_newest_first_and_only_beside_a_record() {
    let (_dir, store) = store();
    let rows = [row("a", 1, 10), row("b", 2, 20), row("failed", 3, 30)];
    store.put_accounts(&rows, &[]).unwrap();
    for name in ["a", "b"] {
        store.records().put(&key(name), &record(&[])).unwrap();
    }
    assert_eq!(stage(&store), ["b", "a"]);
    let of = |kind, before, limit| {
        store.accounts_of_stage((&Digest::of(b"stage"), kind), before, limit).unwrap().len()
    };
    assert_eq!((of("exec", 20, 100), of("exec", 100, 1), of("file", 100, 100)), (1, 1, 0));
    assert_eq!(store.recent_accounts("exec", 100, 100).unwrap().len(), 2);
    assert_eq!(store.trace(&key("b")).unwrap(), Some(Trace::Begun(Box::new(rows[1].clone()))));
    assert!(matches!(store.trace(&key("failed")).unwrap(), Some(Trace::Begun(_))));
    assert_eq!(store.trace(&key("never")).unwrap(), None);
}

#[test]
fn every_reason_comes_back() {
    let (_dir, store) = store();
    let gone = [Gone::Collected, Gone::Restart, Gone::Damaged].map(Missed::Gone);
    let others = [Missed::New, Missed::PassedOver, Missed::Husk, Missed::Unfinished];
    for missed in gone.into_iter().chain(others) {
        let row = AccountRow { missed, ..row("a", 1, 1) };
        store.put_accounts(std::slice::from_ref(&row), &[]).unwrap();
        assert_eq!(store.trace(&key("a")).unwrap(), Some(Trace::Begun(Box::new(row))));
    }
}

#[test]
fn a_list_is_kept_once_and_for_the_newest_of_a_step_alone() {
    let (_dir, store) = store();
    let same = Digest::of(b"same");
    for number in 0..12_i64 {
        let name = format!("k{number}");
        let own = Digest::of(name.as_bytes());
        let lists = [(key(&name), own, listing_of(&name)), (key(&name), same, listing_of("s"))];
        store.put_accounts(&[row(&name, 1, number)], &lists).unwrap();
    }
    assert_eq!(count(&store, "accounts"), 12);
    assert_eq!(count(&store, "listings"), 8 + 1);
    assert_eq!(store.listing(&Digest::of(b"k11")).unwrap(), Some(listing_of("k11")));
    assert_eq!(store.listing(&Digest::of(b"k0")).unwrap(), None);
    assert_eq!(store.listing(&same).unwrap(), Some(listing_of("s")));
}

#[test]
fn what_goes_leaves_word_of_why() {
    let (_dir, store) = store();
    let name = "collected";
    let list = (key(name), Digest::of(b"files"), listing_of("f"));
    store.put_accounts(&[row(name, 1, 1)], &[list]).unwrap();
    store.records().put(&key(name), &record(&[])).unwrap();
    store.collect(&Wanted { all: true, ..Wanted::default() }).unwrap();
    assert_eq!(store.records().get(&key(name)).unwrap(), None);
    assert_eq!(store.trace(&key(name)).unwrap(), Some(Trace::Gone(Gone::Collected)));
    assert_eq!((count(&store, "listed"), count(&store, "listings")), (0, 0));
    assert_eq!(stage(&store), Vec::<String>::new());
    // Made again, it is as new.
    store.put_accounts(&[row(name, 1, 2)], &[]).unwrap();
    assert!(matches!(store.trace(&key(name)).unwrap(), Some(Trace::Begun(_))));
}

#[test]
fn what_did_not_reach_the_disk_is_told_from_what_failed() {
    let (_dir, store) = store();
    let rows = [row("kept", 1, 1), row("lost", 2, 2), row("failed", 3, 3)];
    store.put_accounts(&rows, &[]).unwrap();
    store.records().put(&key("kept"), &record(&[])).unwrap();
    store.mark_durable().unwrap();
    store.records().put(&key("lost"), &record(&[])).unwrap();
    let store = restart::restart(store);
    assert!(matches!(store.trace(&key("kept")).unwrap(), Some(Trace::Begun(_))));
    assert_eq!(store.trace(&key("lost")).unwrap(), Some(Trace::Gone(Gone::Restart)));
    assert!(matches!(store.trace(&key("failed")).unwrap(), Some(Trace::Begun(_))));
}

#[test]
fn what_a_check_drops_is_told_as_damaged() {
    let (_dir, store) = store();
    store.put_accounts(&[row("a", 1, 1)], &[]).unwrap();
    store.records().put(&key("a"), &record(&["a layer that is not there"])).unwrap();
    store.check(crate::check::Repair::Yes).unwrap();
    assert_eq!(store.trace(&key("a")).unwrap(), Some(Trace::Gone(Gone::Damaged)));
}

#[test]
fn damaged_accounts_and_lists_are_passed_over() {
    let (_dir, store) = store();
    let list = (key("a"), Digest::of(b"files"), listing_of("f"));
    store.put_accounts(&[row("a", 1, 1), row("b", 1, 2)], &[list]).unwrap();
    for name in ["a", "b"] {
        store.records().put(&key(name), &record(&[])).unwrap();
    }
    store
        .db
        .write("damage", |tx| {
            tx.execute(
                "UPDATE accounts SET account = '{\"v\":1' WHERE step = 1 AND made_ms = 1",
                [],
            )?;
            tx.execute("UPDATE listings SET files = x'00'", [])
        })
        .unwrap();
    assert_eq!(stage(&store), ["b"]);
    assert_eq!(store.trace(&key("a")).unwrap(), None);
    assert_eq!(store.listing(&Digest::of(b"files")).unwrap(), None);
}

#[test]
fn the_stores_own_key_is_its_owners_alone_and_stays() {
    use std::os::unix::fs::PermissionsExt as _;
    let (_dir, store) = store();
    let seal = store.seal().unwrap();
    let path = store.root().join("seal");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let again = store.seal().unwrap();
    assert_eq!(seal.digest("a", b"value"), again.digest("a", b"value"));
    assert_ne!(seal.digest("a", b"value"), seal.digest("b", b"value"));
    assert_ne!(seal.digest("a", b"value"), seal.digest("a", b"other"));
    assert_ne!(seal.digest("ab", b"c"), seal.digest("a", b"bc"));
    assert_eq!(format!("{seal:?}"), "Seal");
    let (_other_dir, other) = self::store();
    assert_ne!(seal.digest("a", b"value"), other.seal().unwrap().digest("a", b"value"));
    // A torn one is made anew.
    for torn in [&[][..], &[0; 32]] {
        std::fs::write(&path, torn).unwrap();
        let fresh = store.seal().unwrap();
        assert_ne!(fresh.digest("a", b"value"), seal.digest("a", b"value"));
        assert_eq!(std::fs::read(&path).unwrap().len(), 32);
    }
}
