//! A disk that is full: a small tmpfs as the store, which then gets more space.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::bed::{BASE, Bed};

/// Sizes of the disk that a whole build is tried on.
const POINTS: usize = 66;
/// Of the small store. SQLite's files and a busybox need about half of it.
const SMALL_BYTES: usize = 8 << 20;

/// A tmpfs over a bed's store.
struct Small {
    bed: Bed,
    store: PathBuf,
}

impl Small {
    fn new() -> Option<Self> {
        Self::of(SMALL_BYTES)
    }

    fn of(bytes: usize) -> Option<Self> {
        let bed = Bed::new()?;
        let small = Self { store: bed.path("store"), bed };
        let made = small.mount(&["-t", "tmpfs", "-o", &format!("size={bytes}"), "tmpfs"]);
        assert!(made, "a tmpfs can be mounted");
        Some(small)
    }

    fn mount(&self, arguments: &[&str]) -> bool {
        Command::new("mount").args(arguments).arg(&self.store).status().unwrap().success()
    }

    /// That nothing is left, and that the same build works when there is space.
    fn works_with_more_space(&self, dockerfile: &str) {
        self.bed.left_nothing();
        self.bed.was_never_damaged();
        assert!(self.mount(&["-o", "remount,size=400m"]));
        let said = self.bed.build(dockerfile, &[]);
        assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""));
        self.bed.is_whole();
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("--lazy").arg(&self.store).status();
        assert!(unmounted.is_ok_and(|status| status.success()), "the tmpfs is unmounted");
    }
}

/// Bytes that do not compress.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    std::iter::repeat_with(&mut next).flatten().take(length).collect()
}

#[test]
fn full_while_a_command_writes() {
    let Some(small) = Small::new() else { return };
    let dockerfile = format!(
        "{BASE}RUN dd if=/dev/zero of=/big bs=64k count=400 2>/tmp.log || {{ \
                 grep error /tmp.log || echo the disk is full; exit 3; }}\n"
    );
    let said = small.bed.build(&dockerfile, &[]);
    assert!(said.stderr.contains("the disk is full; free some space"), "{}", said.stderr);
    assert_eq!(said.code, Some(1), "{}", said.stderr);
    assert!(said.stderr.contains("Dockerfile:4"), "{}", said.stderr);
    small.works_with_more_space(&dockerfile);
}

#[test]
fn full_while_files_are_copied() {
    let Some(small) = Small::new() else { return };
    small.bed.write("ctx/big", noise(2 * SMALL_BYTES));
    let dockerfile = format!("{BASE}COPY big /\n");
    small.bed.build(&dockerfile, &[]).is("full-copy.txt", &[]);
    small.works_with_more_space(&dockerfile);
}

#[test]
fn full_while_an_archive_is_unpacked() {
    let Some(small) = Small::new() else { return };
    fs::create_dir(small.bed.path("files")).unwrap();
    small.bed.write("files/big", noise(2 * SMALL_BYTES));
    let tar = Command::new("tar")
        .args(["-czf", "ctx/files.tar.gz", "files"])
        .current_dir(small.bed.path("."))
        .status();
    assert!(tar.unwrap().success());
    let dockerfile = format!("{BASE}ADD files.tar.gz /\n");
    small.bed.build(&dockerfile, &[]).is("full-add.txt", &[]);
    small.works_with_more_space(&dockerfile);
}

#[test]
fn full_while_a_base_image_is_fetched() {
    let Some(small) = Small::new() else { return };
    small.bed.write("ctx/big", noise(2 * SMALL_BYTES));
    let layout = ["--root", "roomy", "-o", "type=oci,tar=false,dest=layout"];
    assert_eq!(small.bed.build("FROM scratch\nCOPY big /\n", &layout).code, Some(0));
    fs::remove_file(small.bed.path("ctx/big")).unwrap();
    let dockerfile = "FROM oci-layout://layout\nWORKDIR /home\n";
    small.bed.build(dockerfile, &[]).is("full-pull.txt", &[]);
    small.works_with_more_space(dockerfile);
}

#[test]
fn full_while_the_image_is_written() {
    let Some(small) = Small::new() else { return };
    // The files fit, and their layer as an archive does not.
    small.bed.write("ctx/big", noise(SMALL_BYTES / 2));
    let dockerfile = "FROM scratch\nCOPY big /\n";
    small.bed.build(dockerfile, &[]).is("full-export.txt", &[]);
    small.works_with_more_space(dockerfile);
}

#[test]
fn full_from_the_start() {
    let Some(small) = Small::new() else { return };
    fs::write(small.store.join("other"), noise(SMALL_BYTES - 8192)).unwrap();
    let dockerfile = format!("{BASE}RUN true\n");
    let said = small.bed.build(&dockerfile, &[]);
    assert_eq!(said.code, Some(6), "{}", said.stderr);
    assert!(said.stderr.contains("the disk is full; free some space"), "{}", said.stderr);
    fs::remove_file(small.store.join("other")).unwrap();
    small.works_with_more_space(&dockerfile);
}

/// What is written on a filesystem, in bytes.
fn used(path: &Path) -> usize {
    let fs = nix::sys::statvfs::statvfs(path).unwrap();
    usize::try_from((fs.blocks() - fs.blocks_free()) * fs.fragment_size()).unwrap()
}

/// Each point of a build, as far as it is one where something is written.
#[test]
fn full_at_any_point() {
    let Some(roomy) = Small::of(400 << 20) else { return };
    let dockerfile = format!(
        "{BASE}RUN mkdir /d; for i in $(seq 300); do echo $i > /d/$i; done\nCOPY noise /\n\
         FROM scratch\nCOPY --from=0 /d /d\nCOPY --from=0 /noise /noise\nWORKDIR /home\n"
    );
    let more = ["--build-arg=SOURCE_DATE_EPOCH=1", "--iidfile", "iid"];
    let build = |small: &Small| {
        small.bed.write("ctx/noise", noise(300_000));
        small.bed.build(&dockerfile, &more)
    };
    assert_eq!(build(&roomy).code, Some(0));
    roomy.bed.left_nothing();
    // A build needs more for a while than it leaves.
    let (needed, expected) = (used(&roomy.store), fs::read(roomy.bed.path("iid")).unwrap());
    let mut full = 0;
    for point in 0..POINTS {
        let small = Small::of(needed * (point + 1) * 3 / (POINTS * 2)).unwrap();
        let said = build(&small);
        if said.code != Some(0) {
            full += 1;
            assert!(said.stderr.contains("the disk is full"), "{point}: {}", said.stderr);
        }
        assert!(small.mount(&["-o", "remount,size=400m"]));
        small.bed.left_nothing();
        small.bed.was_never_damaged();
        assert_eq!(build(&small).stderr, "", "{point}");
        assert_eq!(fs::read(small.bed.path("iid")).unwrap(), expected, "{point}");
        small.bed.left_nothing();
        small.bed.is_sound();
    }
    eprintln!("the disk was full in {full} of {POINTS} builds");
    assert!((POINTS / 2..POINTS).contains(&full), "{full} builds found the disk full");
}

/// Whoever prunes does so because there is no space.
#[test]
fn full_before_a_prune() {
    let Some(small) = Small::new() else { return };
    let dockerfile = format!("{BASE}RUN head -c 200000 /dev/zero > /zero\n");
    assert_eq!(small.bed.build(&dockerfile, &["-o", "type=cacheonly"]).code, Some(0));
    small.bed.left_nothing();
    let filler = small.store.join("filler");
    let mut file = fs::File::create(&filler).unwrap();
    for block in [64 << 10, 4096, 1] {
        while file.write_all(&vec![1; block]).is_ok() {}
    }
    let said = small.bed.run(&["builder", "prune", "--all", "--force"]);
    assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""));
    let layers = super::bed::names(&small.store.join("layers"));
    assert_eq!(layers, Vec::<String>::new(), "layers stay");
    drop(file);
    fs::remove_file(filler).unwrap();
    small.works_with_more_space(&dockerfile);
}
