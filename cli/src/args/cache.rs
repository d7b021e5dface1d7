//! `--cache-from` and `--cache-to`, in the form of buildx.

use std::path::PathBuf;

use clap::Args;
use kiln_engine::{
    Amount, CacheExtent, CachePlace, CacheTarget, Compression, DEFAULT_MOUNT_MAX_BYTES, ImageRef,
    MountChoice, OnFailure, PackOptions,
};

use super::ValueError;
use super::fields::{Fields, parse_bool};

const FROM_KEYS: &[&str] = &["type", "ref", "src", "tag", "digest"];
const TO_KEYS: &[&str] = &[
    "type",
    "ref",
    "dest",
    "tag",
    "mode",
    "compression",
    "compression-level",
    "ignore-error",
    "mounts",
    "mount-max-size",
    "force-compression",
    "oci-mediatypes",
    "image-manifest",
];
const FROM_TYPES: &[&str] = &["registry", "local"];
const TO_TYPES: &[&str] = &["registry", "local", "inline"];
/// Types of buildx that keep caches with a provider's own service.
const SERVICES: [&str; 3] = ["gha", "s3", "azblob"];
const TAG: &str = "latest";

/// Which caches are read and written besides the store.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct Caches {
    /// Take results of another machine: type=registry,ref=NAME or type=local,src=DIR[,tag=TAG]; a NAME alone is
    /// type=registry. The name may be that of an image with an inline cache
    #[arg(long = "cache-from", value_name = "FIELDS", value_parser = CacheFrom::parse)]
    pub from: Vec<CacheFrom>,
    /// Give results to other machines: type=registry,ref=NAME, type=local,dest=DIR[,tag=TAG] or type=inline (in
    /// the image itself), with mode=min|max, compression=gzip|zstd|uncompressed, compression-level=NUMBER,
    /// ignore-error=false (a failure to write it fails the build), mounts=all or an id (cache mounts go along;
    /// several ids as "mounts=ID,ID"), mount-max-size=SIZE (of each, default 1 GiB)
    #[arg(long = "cache-to", value_name = "FIELDS", value_parser = CacheTo::parse)]
    pub to: Vec<CacheTo>,
}

/// A cache to be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheFrom(pub CachePlace);

/// A cache to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheTo(pub CacheTarget);

impl CacheFrom {
    /// Reads `type=TYPE,…` or a name alone.
    pub(super) fn parse(text: &str) -> Result<Self, ValueError> {
        if let Some(name) = alone(text, "cache")? {
            return Ok(Self(CachePlace::Registry(name)));
        }
        refuse_services(text)?;
        let mut fields = Fields::parse(text, FROM_KEYS)?;
        let kind = kind(&mut fields, "; it is registry or local")?;
        let place = match kind.as_str() {
            "registry" => CachePlace::Registry(reference(&mut fields)?),
            "local" => {
                let dir = directory(&mut fields, "src")?;
                let tag = fields.take("digest").or_else(|| fields.take("tag"));
                CachePlace::Directory { dir, tag: tag.unwrap_or_else(|| TAG.to_owned()) }
            }
            _ => return Err(no_type(kind, FROM_TYPES)),
        };
        nothing_left(&fields)?;
        Ok(Self(place))
    }
}

impl CacheTo {
    /// Reads `type=TYPE,…` or a name alone.
    pub(super) fn parse(text: &str) -> Result<Self, ValueError> {
        let mut target = CacheTarget {
            place: None,
            extent: CacheExtent::default(),
            packing: PackOptions::default(),
            on_failure: OnFailure::default(),
            mounts: MountChoice::None,
            mount_max_bytes: DEFAULT_MOUNT_MAX_BYTES,
        };
        if let Some(name) = alone(text, "cache")? {
            target.place = Some(CachePlace::Registry(name));
            return Ok(Self(target));
        }
        refuse_services(text)?;
        let mut fields = Fields::parse(text, TO_KEYS)?;
        let kind = kind(&mut fields, "; it is registry, local or inline")?;
        match kind.as_str() {
            "inline" => {
                // An image's cache tells of the image's own layers, however these are packed.
                if fields.take("mode").is_some_and(|mode| mode.eq_ignore_ascii_case("max")) {
                    return Err(ValueError::Conflict { one: "type=inline", other: "mode=max" });
                }
                ignore_formats(&mut fields)?;
                drop(fields.take("ignore-error"));
                nothing_left(&fields)?;
                return Ok(Self(target));
            }
            "registry" => target.place = Some(CachePlace::Registry(reference(&mut fields)?)),
            "local" => {
                let dir = directory(&mut fields, "dest")?;
                let tag = fields.take("tag").unwrap_or_else(|| TAG.to_owned());
                target.place = Some(CachePlace::Directory { dir, tag });
            }
            _ => return Err(no_type(kind, TO_TYPES)),
        }
        target.extent = extent(&mut fields)?;
        target.packing = packing(&mut fields)?;
        (target.mounts, target.mount_max_bytes) = mounts(&mut fields)?;
        if fields.take("ignore-error").as_deref().map(parse_bool).transpose()? == Some(false) {
            target.on_failure = OnFailure::Fail;
        }
        ignore_formats(&mut fields)?;
        nothing_left(&fields)?;
        Ok(Self(target))
    }
}

/// The name that a text is, if it is no fields.
fn alone(text: &str, what: &'static str) -> Result<Option<ImageRef>, ValueError> {
    match text {
        "" => Err(ValueError::Empty { what }),
        fields if fields.contains('=') => Ok(None),
        name => parse_name(name).map(Some),
    }
}

fn parse_name(name: &str) -> Result<ImageRef, ValueError> {
    let form = "[REGISTRY/]REPOSITORY[:TAG]";
    name.parse().map_err(|_| ValueError::Form { text: name.to_owned(), form })
}

fn kind(fields: &mut Fields, why: &'static str) -> Result<String, ValueError> {
    let kind = fields.take("type").ok_or(ValueError::Missing { key: "type", why })?;
    Ok(kind.to_lowercase())
}

/// Refuses a service by its type, before any field of its own.
fn refuse_services(text: &str) -> Result<(), ValueError> {
    let kind = Fields::peek(text, "type")?.unwrap_or_default().to_lowercase();
    if SERVICES.contains(&kind.as_str()) { Err(ValueError::Service { kind }) } else { Ok(()) }
}

fn no_type(kind: String, known: &'static [&'static str]) -> ValueError {
    ValueError::Unknown { what: "cache type", name: kind, known }
}

fn reference(fields: &mut Fields) -> Result<ImageRef, ValueError> {
    let why = "; it names a cache or an image in a registry";
    parse_name(&fields.take("ref").ok_or(ValueError::Missing { key: "ref", why })?)
}

fn directory(fields: &mut Fields, key: &'static str) -> Result<PathBuf, ValueError> {
    match fields.take(key).as_deref() {
        None | Some("") => Err(ValueError::Missing { key, why: "; it names a directory" }),
        Some(dir) => Ok(PathBuf::from(dir)),
    }
}

fn extent(fields: &mut Fields) -> Result<CacheExtent, ValueError> {
    let mode = fields.take("mode").unwrap_or_default().to_lowercase();
    match mode.as_str() {
        "" | "min" => Ok(CacheExtent::Result),
        "max" => Ok(CacheExtent::Everything),
        _ => Err(ValueError::Unknown { what: "cache mode", name: mode, known: &["min", "max"] }),
    }
}

fn packing(fields: &mut Fields) -> Result<PackOptions, ValueError> {
    const KNOWN: &[&str] = &["gzip", "zstd", "uncompressed"];
    let name = fields.take("compression").unwrap_or_default().to_lowercase();
    let compression = match name.as_str() {
        "" | "gzip" => Compression::Gzip,
        "zstd" => Compression::Zstd,
        "uncompressed" => Compression::None,
        "estargz" => {
            return Err(ValueError::Unsupported { what: "the compression `estargz`".to_owned() });
        }
        _ => return Err(ValueError::Unknown { what: "compression", name, known: KNOWN }),
    };
    let number = |text: String| {
        let form = "compression-level=NUMBER";
        text.parse().map_err(|_| ValueError::Form { text, form })
    };
    let level = fields.take("compression-level").map(number).transpose()?;
    Ok(PackOptions { compression, level })
}

/// Which cache mounts, and how large each may be. Several ids stand in one field, in quotes.
fn mounts(fields: &mut Fields) -> Result<(MountChoice, u64), ValueError> {
    let choice = match fields.take("mounts").as_deref() {
        None => MountChoice::None,
        Some("") => return Err(ValueError::Missing { key: "mounts", why: "; give `all` or ids" }),
        Some("all") => MountChoice::All,
        Some(ids) => MountChoice::Ids(ids.split(',').map(str::to_owned).collect()),
    };
    let size = |text: String| match text.parse() {
        Ok(Amount::Bytes(bytes)) => Ok(bytes),
        Ok(Amount::Percent(_)) | Err(_) => {
            Err(ValueError::Form { text, form: "mount-max-size=SIZE, such as 500MB" })
        }
    };
    let most = fields.take("mount-max-size").map(size).transpose()?;
    Ok((choice, most.unwrap_or(DEFAULT_MOUNT_MAX_BYTES)))
}

/// Takes the fields that choose among forms of documents and blobs of which Kiln has one: OCI's, and layers
/// packed as was asked.
fn ignore_formats(fields: &mut Fields) -> Result<(), ValueError> {
    for key in ["force-compression", "oci-mediatypes", "image-manifest"] {
        fields.take(key).as_deref().map(parse_bool).transpose()?;
    }
    Ok(())
}

fn nothing_left(fields: &Fields) -> Result<(), ValueError> {
    let owner = |key: &str| match key {
        "ref" => ("ref", "type=registry"),
        "src" => ("src", "--cache-from type=local"),
        "dest" => ("dest", "--cache-to type=local"),
        "tag" => ("tag", "type=local"),
        "digest" => ("digest", "type=local"),
        "compression" => ("compression", "type=registry and type=local"),
        "mounts" => ("mounts", "type=registry and type=local"),
        "mount-max-size" => ("mount-max-size", "type=registry and type=local"),
        _ => ("compression-level", "type=registry and type=local"),
    };
    match fields.left().map(owner) {
        Some((key, owner)) => Err(ValueError::Elsewhere { key, owner }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(text: &str) -> Result<CachePlace, String> {
        CacheFrom::parse(text).map(|from| from.0).map_err(|error| error.to_string())
    }

    fn to(text: &str) -> Result<CacheTarget, String> {
        CacheTo::parse(text).map(|to| to.0).map_err(|error| error.to_string())
    }

    fn registry(name: &str) -> CachePlace {
        CachePlace::Registry(name.parse().unwrap())
    }

    fn local(dir: &str, tag: &str) -> CachePlace {
        CachePlace::Directory { dir: dir.into(), tag: tag.to_owned() }
    }

    #[test]
    fn places() {
        for (text, expected) in [
            ("user/app:cache", registry("user/app:cache")),
            ("type=registry,ref=localhost:5000/x", registry("localhost:5000/x")),
            ("src=/c,type=local", local("/c", "latest")),
            ("type=local,src=c,tag=main", local("c", "main")),
            ("type=local,src=c,digest=sha256:00", local("c", "sha256:00")),
        ] {
            assert_eq!(from(text), Ok(expected), "{text}");
        }
        for (text, expected) in [
            ("user/app:cache", Some(registry("user/app:cache"))),
            (
                "type=registry,ref=user/app:cache,image-manifest=true",
                Some(registry("user/app:cache")),
            ),
            ("type=local,dest=/c", Some(local("/c", "latest"))),
            ("type=inline", None),
            ("type=inline,mode=min,oci-mediatypes=true", None),
        ] {
            assert_eq!(to(text).map(|target| target.place), Ok(expected), "{text}");
        }
    }

    #[test]
    fn a_target_says_how_much_and_how() {
        let plain = to("type=local,dest=c").unwrap();
        assert_eq!(plain.packing, PackOptions { compression: Compression::Gzip, level: None });
        assert_eq!((plain.extent, plain.on_failure), (CacheExtent::Result, OnFailure::Warn));
        let mounts = |text: &str| {
            let target = to(&format!("type=local,dest=c,{text}")).unwrap();
            (target.mounts, target.mount_max_bytes)
        };
        let ids = |ids: &[&str]| MountChoice::Ids(ids.iter().map(|id| (*id).to_owned()).collect());
        assert_eq!(mounts("mode=min"), (MountChoice::None, 1 << 30));
        assert_eq!(mounts("mounts=all,mount-max-size=2MB"), (MountChoice::All, 2_000_000));
        assert_eq!(mounts("mounts=/root/.cache").0, ids(&["/root/.cache"]));
        assert_eq!(mounts(r#""mounts=npm,go""#).0, ids(&["npm", "go"]));
        let target = to(
            "type=local,dest=c,mode=max,compression=zstd,compression-level=9,ignore-error=false",
        )
        .unwrap();
        assert_eq!(target.packing, PackOptions { compression: Compression::Zstd, level: Some(9) });
        assert_eq!((target.extent, target.on_failure), (CacheExtent::Everything, OnFailure::Fail));
    }

    #[test]
    fn errors_say_what_is_wrong() {
        for (text, message) in [
            ("", "the cache is empty"),
            ("UPPER", "`UPPER` is not of the form [REGISTRY/]REPOSITORY[:TAG]"),
            ("type=regsitry,ref=x", "unknown cache type `regsitry`; did you mean `registry`?"),
            (
                "type=gha,scope=main",
                "the cache type `gha` is a provider's own service, which Kiln does not use; give \
                 type=registry or type=local",
            ),
            ("type=local", "the field `src` is missing; it names a directory"),
            (
                "type=registry",
                "the field `ref` is missing; it names a cache or an image in a registry",
            ),
            ("type=local,src=a,ref=b", "the field `ref` goes with type=registry alone"),
            ("src=a", "the field `type` is missing; it is registry or local"),
        ] {
            assert_eq!(from(text), Err(message.to_owned()), "{text}");
        }
        for service in SERVICES {
            let fields = format!("region=eu,bucket=b,type={service},mode=max");
            for refused in [from(&fields).map(drop), to(&fields).map(drop)] {
                assert!(
                    refused.unwrap_err().starts_with(&format!("the cache type `{service}` is"))
                );
            }
        }
        for (text, message) in [
            ("type=inline,mode=max", "the fields `type=inline` and `mode=max` exclude each other"),
            ("type=local,dest=a,mode=maxx", "unknown cache mode `maxx`; did you mean `max`?"),
            (
                "type=local,dest=a,compression=lz4",
                "unknown compression `lz4`; known are gzip, zstd, uncompressed",
            ),
            (
                "type=local,dest=a,compression-level=high",
                "`high` is not of the form compression-level=NUMBER",
            ),
            (
                "type=local,src=a",
                "unknown field `src`; known are type, ref, dest, tag, mode, compression, compression-level, ignore-error, mounts, mount-max-size, force-compression, oci-mediatypes, image-manifest",
            ),
            (
                "type=local,dest=a,mount-max-size=60%",
                "`60%` is not of the form mount-max-size=SIZE, such as 500MB",
            ),
            (
                "type=inline,mounts=all",
                "the field `mounts` goes with type=registry and type=local alone",
            ),
            (
                "type=registry,ref=a,dest=b",
                "the field `dest` goes with --cache-to type=local alone",
            ),
        ] {
            assert_eq!(to(text), Err(message.to_owned()), "{text}");
        }
    }
}
