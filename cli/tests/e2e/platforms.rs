//! Images for other platforms, and for several at once.

use std::fs;
use std::path::Path;

use serde_json::Value;

use super::support::build::Kiln;
use super::support::{Work, bases, have, output, tool};

/// What one platform's image is made of: tools that run here, files that do not care.
const APP: &str = "\
FROM --platform=$BUILDPLATFORM base AS tools
RUN echo once >> /made && echo for $(uname -m)
FROM --platform=$BUILDPLATFORM base AS cross
ARG TARGETPLATFORM TARGETARCH TARGETVARIANT
RUN echo \"$TARGETPLATFORM $TARGETARCH $TARGETVARIANT\" > /for
FROM scratch
ARG TARGETARCH
COPY --from=tools /made /made
COPY --from=cross /for /for-$TARGETARCH
CMD [\"/app\"]
";

fn skopeo(arguments: &[&str]) -> Value {
    let mut command = tool("skopeo");
    command.arg("--insecure-policy").args(arguments);
    serde_json::from_str(&output(&mut command)).unwrap()
}

#[test]
fn two_platforms_are_one_index_and_share_what_runs_here() {
    let Some(base) = bases::busybox() else { return };
    if !have(&["skopeo"]) {
        return;
    }
    let work = Work::new();
    let kiln = Kiln::at(work.path("store"));
    let context = work.context("context", APP);
    let layout = work.path("layout");
    let (iid, metadata) = (work.path("iid"), work.path("metadata"));
    let build = || {
        kiln.build(&context)
            .layout("base", &base)
            .tag("example/app:1")
            .arg("--platform=linux/amd64,linux/arm64,linux/arm/v7")
            .arg(format!("--iidfile={}", iid.display()))
            .arg(format!("--metadata-file={}", metadata.display()))
            .into_layout(&layout)
            .at_epoch()
            .run()
    };
    let steps = build();
    let host = if cfg!(target_arch = "aarch64") { "linux/arm64" } else { "linux/amd64" };
    let ran = steps.ran();
    let of = |part: &str| ran.iter().filter(|name| name.contains(part)).count();
    assert_eq!(of(&format!("[{host} tools 2/2] RUN")), 1, "{ran:#?}");
    assert_eq!((of("tools 2/2"), of("cross 2/2"), of("COPY --from=cross")), (1, 3, 3), "{ran:#?}");
    assert_eq!(of(&format!("[{host}->arm/v7 cross 2/2]")), 1, "{ran:#?}");
    assert_eq!(of("[linux/arm64 stage-2 2/2] COPY"), 1, "{ran:#?}");

    let place = format!("oci:{}:1", layout.display());
    let index = skopeo(&["inspect", "--raw", &place]);
    assert_eq!(index["mediaType"], "application/vnd.oci.image.index.v1+json");
    let platforms: Vec<_> =
        index["manifests"].as_array().unwrap().iter().map(|image| &image["platform"]).collect();
    assert_eq!(platforms.len(), 3);
    assert_eq!(platforms[0]["architecture"], "amd64");
    assert_eq!(
        (&platforms[2]["architecture"], &platforms[2]["variant"]),
        (&"arm".into(), &"v7".into())
    );
    let config = skopeo(&["--override-arch=arm64", "inspect", "--config", &place]);
    assert_eq!((&config["architecture"], &config["os"]), (&"arm64".into(), &"linux".into()));
    assert_eq!(config["config"]["Cmd"], serde_json::json!(["/app"]));

    let digest = kiln.digest("example/app:1");
    assert_eq!(fs::read_to_string(&iid).unwrap(), digest);
    let metadata: Value = serde_json::from_slice(&fs::read(&metadata).unwrap()).unwrap();
    assert_eq!(metadata["containerimage.digest"], digest.as_str());
    assert_eq!(metadata["containerimage.descriptor"]["mediaType"], index["mediaType"]);
    assert!(metadata.get("containerimage.config.digest").is_none());
    assert_eq!(build().ran(), Vec::<&str>::new(), "all of it is cached");
    assert_eq!(kiln.digest("example/app:1"), digest);
}

#[test]
fn an_index_is_listed_shown_saved_and_loaded() {
    let work = Work::new();
    let kiln = Kiln::at(work.path("store"));
    let context =
        work.context("context", "FROM scratch\nARG TARGETARCH\nENV FOR=$TARGETARCH\nCOPY f /\n");
    work.write("context/f", "f");
    let build = kiln.build(&context).tag("app:1").arg("--platform=linux/arm64,linux/s390x");
    build.at_epoch().run();
    let digest = kiln.digest("app:1");
    assert!(kiln.print(&["images", "--no-trunc"]).contains(&digest));
    let shown: Value = serde_json::from_str(&kiln.print(&["inspect", "app:1"])).unwrap();
    let platforms: Vec<_> = shown[0]["Manifests"].as_array().unwrap().iter().collect();
    assert_eq!(platforms[1]["Platform"], "linux/s390x");
    assert_eq!(shown[0]["Architecture"], "arm64");

    let archive = work.path("app.tar");
    kiln.print(&["save", "--output", archive.to_str().unwrap(), "app:1"]);
    let other = Kiln::at(work.path("other"));
    assert!(other.print(&["load", "--input", archive.to_str().unwrap()]).contains("app:1"));
    assert_eq!(other.digest("app:1"), digest);

    // As a base it gives each platform its own.
    let derived = work
        .context("derived", "FROM base\nARG TARGETARCH\nCOPY <<EOF /x\n$FOR is $TARGETARCH\nEOF\n");
    let layout = work.path("layout");
    kiln.build(&context)
        .arg("--platform=linux/arm64,linux/s390x")
        .into_layout(&layout)
        .at_epoch()
        .run();
    let out = work.path("out");
    let build = kiln.build(&derived).layout("base", &layout);
    build.arg("--platform=linux/s390x").arg(format!("--output={}", out.display())).run();
    assert_eq!(fs::read_to_string(out.join("x")).unwrap(), "s390x is s390x\n");
}

/// The paths below a directory, sorted.
fn paths(dir: &Path) -> Vec<String> {
    let listed = output(tool("find").arg(dir).args(["-mindepth", "1", "-printf", "%P\\n"]));
    let mut paths: Vec<_> = listed.lines().map(str::to_owned).collect();
    paths.sort();
    paths
}

#[test]
fn files_of_several_platforms_have_directories_of_their_own() {
    let work = Work::new();
    let kiln = Kiln::at(work.path("store"));
    let context =
        work.context("context", "FROM scratch\nARG TARGETARCH\nCOPY f /d/$TARGETARCH\nCOPY f /f\n");
    work.write("context/f", "f");
    let build = |output: String| {
        kiln.build(&context)
            .arg("--platform=linux/amd64,linux/arm/v7")
            .arg(format!("--output={output}"))
    };
    let out = work.path("out");
    build(out.display().to_string()).run();
    let split = ["linux_amd64", "linux_amd64/d", "linux_amd64/d/amd64", "linux_amd64/f"];
    let split = split.iter().chain(&[
        "linux_arm_v7",
        "linux_arm_v7/d",
        "linux_arm_v7/d/arm",
        "linux_arm_v7/f",
    ]);
    let split: Vec<String> = split.map(|path| (*path).to_owned()).collect();
    assert_eq!(paths(&out), split);
    let archive = work.path("out.tar");
    build(format!("type=tar,dest={}", archive.display())).run();
    let listed = output(tool("tar").arg("--list").arg("--file").arg(&archive));
    let mut listed: Vec<_> = listed.lines().map(|path| path.trim_end_matches('/')).collect();
    listed.sort_unstable();
    assert_eq!(listed, split);

    let same = work.path("same");
    let mut command =
        kiln.command(&["build", "--progress=quiet", "--platform=linux/amd64,linux/arm"]);
    let output = format!("--output=type=local,platform-split=false,dest={}", same.display());
    let refused = command.arg(output).arg(&context).output().unwrap();
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains("two platforms have a file `f`") && !same.exists(), "{said}");
    let apart = work.context("apart", "FROM scratch\nARG TARGETARCH\nCOPY f /d/$TARGETARCH\n");
    work.write("apart/f", "f");
    let build = kiln.build(&apart).arg("--platform=linux/amd64,linux/arm64");
    build.arg(format!("--output=type=local,platform-split=false,dest={}", same.display())).run();
    assert_eq!(paths(&same), ["d", "d/amd64", "d/arm64"]);
    let one = work.path("one");
    let build = kiln.build(&apart).arg("--platform=linux/riscv64");
    build.arg(format!("--output=type=local,platform-split=true,dest={}", one.display())).run();
    assert_eq!(paths(&one), ["linux_riscv64", "linux_riscv64/d", "linux_riscv64/d/riscv64"]);
}

#[test]
fn an_archive_for_docker_load_holds_one_platform() {
    let work = Work::new();
    let kiln = Kiln::at(work.path("store"));
    let context = work.context("context", "FROM scratch\nCOPY f /\n");
    work.write("context/f", "f");
    let archive = work.path("app.tar");
    let mut command =
        kiln.command(&["build", "--progress=plain", "--platform=linux/amd64,linux/arm64"]);
    let refused = command.arg(format!("--output=type=docker,dest={}", archive.display()));
    let refused = refused.arg(&context).output().unwrap();
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(
        said.contains("holds an image for one platform") && said.contains("type=oci"),
        "{said}"
    );
    assert!(!said.contains("COPY f /"), "refused before anything runs: {said}");
    // The same platform twice is one.
    let build = kiln.build(&context).arg("--platform=linux/arm64,linux/aarch64");
    build.arg(format!("--output=type=docker,dest={}", archive.display())).run();
    let manifest = output(
        tool("tar").args(["--extract", "--to-stdout", "--file"]).arg(&archive).arg("manifest.json"),
    );
    let manifest: Value = serde_json::from_str(&manifest).unwrap();
    let config = manifest[0]["Config"].as_str().unwrap();
    let config =
        output(tool("tar").args(["--extract", "--to-stdout", "--file"]).arg(&archive).arg(config));
    let config: Value = serde_json::from_str(&config).unwrap();
    assert_eq!(config["architecture"], "arm64");
}

#[test]
fn a_program_for_another_machine_is_refused_with_its_machine() {
    let work = Work::new();
    let kiln = Kiln::at(work.path("store"));
    // The header of a program for MIPS, which no test machine emulates, and nothing more.
    let mut program = b"\x7fELF\x01\x02\x01".to_vec();
    program.resize(18, 0);
    program.extend([0, 8]);
    program.resize(200, 0);
    let context = work.context(
        "context",
        "FROM scratch\nCOPY --chmod=755 sh /bin/sh\nCOPY --chmod=755 script /script\nRUN make\n",
    );
    work.write("context/sh", program);
    work.write("context/script", "#!/bin/sh\n");
    let said = |dockerfile: Option<&str>| {
        if let Some(text) = dockerfile {
            work.write("context/Dockerfile", text);
        }
        let mut command = kiln.command(&["build", "--progress=plain", "--platform=linux/mips"]);
        let output = command.arg(&context).output().unwrap();
        assert!(!output.status.success());
        String::from_utf8(output.stderr).unwrap()
    };
    let first = said(None);
    assert!(
        first.contains("`/bin/sh` is a program for mips, which this machine cannot run"),
        "{first}"
    );
    assert!(first.contains("--install mips") && first.contains("qemu-user-binfmt"), "{first}");
    let script = said(Some(
        "FROM scratch\nCOPY --chmod=755 sh /bin/sh\nCOPY --chmod=755 script /script\nRUN [\"/script\"]\n",
    ));
    assert!(script.contains("`/bin/sh` is a program for mips"), "{script}");
}

/// Adds an index of one document, twice, to a layout's blobs; answers its descriptor.
fn index_of(layout: &Path, of: &Value) -> Value {
    let media_type = "application/vnd.oci.image.index.v1+json";
    let index = serde_json::json!({
        "schemaVersion": 2, "mediaType": media_type, "manifests": [of, of]
    });
    let bytes = index.to_string();
    let file = layout.join("new");
    fs::write(&file, &bytes).unwrap();
    let sum = output(tool("sha256sum").arg(&file));
    let hex = sum.split_whitespace().next().unwrap();
    fs::rename(&file, layout.join("blobs/sha256").join(hex)).unwrap();
    serde_json::json!({"mediaType": media_type, "digest": format!("sha256:{hex}"), "size": bytes.len()})
}

#[test]
fn indexes_in_indexes_are_followed_once_and_not_for_ever() {
    let work = Work::new();
    let kiln = Kiln::at(work.path("store"));
    let context = work.context("context", "FROM scratch\nCOPY f /\n");
    work.write("context/f", "f");
    let layout = work.path("layout");
    kiln.build(&context).into_layout(&layout).run();
    let index: Value =
        serde_json::from_slice(&fs::read(layout.join("index.json")).unwrap()).unwrap();
    let load = |depth: usize| {
        let nested = (0..depth).fold(index["manifests"][0].clone(), |of, _| index_of(&layout, &of));
        let top = serde_json::json!({"schemaVersion": 2, "manifests": [nested]});
        fs::write(layout.join("index.json"), top.to_string()).unwrap();
        let archive = work.path("nested.tar");
        output(
            tool("tar")
                .arg("--create")
                .arg("--file")
                .arg(&archive)
                .arg("--directory")
                .arg(&layout)
                .arg("."),
        );
        let loaded =
            kiln.command(&["load", "--input", archive.to_str().unwrap()]).output().unwrap();
        String::from_utf8(loaded.stderr).unwrap()
    };
    assert_eq!(load(8), "");
    assert!(load(9).contains("nested too deep"));
    assert!(load(60).contains("nested too deep"), "and not after 2^60 steps");
}
