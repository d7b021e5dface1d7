//! The verbs that list, show, load and save images.

use std::fs::File;
use std::io::{self, Read};

use kiln_cli::args::{ImagesArgs, InspectArgs, LoadArgs, RmiArgs, SaveArgs};
use kiln_engine::{Destination, EngineError, InspectedImage, ListedImage};
use serde_json::{Value, json};

use super::table::{age, size, table};
use super::{Failure, Place, durable, print};

/// Digits of an id that are enough for people.
const SHORT_ID: usize = 12;

/// Lists images, youngest first.
pub(super) fn images(place: &Place, arguments: &ImagesArgs) -> Result<(), Failure> {
    let mut images = place.open()?.images()?;
    images.sort_by_key(|image| std::cmp::Reverse(image.created_ms));
    let mut text = String::new();
    if arguments.quiet {
        let mut ids: Vec<_> = images.iter().map(|image| id(image, arguments.no_trunc)).collect();
        ids.dedup();
        ids.iter().for_each(|id| text.push_str(&format!("{id}\n")));
    } else {
        let mut rows =
            vec![["REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE"].map(str::to_owned)];
        rows.extend(images.iter().map(|image| row(image, arguments.no_trunc)));
        text = table(&rows);
    }
    print(&text);
    Ok(())
}

fn row(image: &ListedImage, whole: bool) -> [String; 5] {
    let none = || "<none>".to_owned();
    let (repository, tag) = match &image.name {
        Some(name) => {
            let familiar = name.familiar();
            let tag = name.tag().map_or_else(none, str::to_owned);
            let repository = familiar.strip_suffix(&format!(":{tag}")).unwrap_or(&familiar);
            (repository.to_owned(), tag)
        }
        None => (none(), none()),
    };
    [repository, tag, id(image, whole), age(image.created_ms), size(image.size_bytes)]
}

fn id(image: &ListedImage, whole: bool) -> String {
    let digest = image.id.unwrap_or(image.manifest);
    if whole { digest.to_string() } else { digest.hex()[..SHORT_ID].to_owned() }
}

/// Shows images as `docker image inspect` does.
pub(super) fn inspect(place: &Place, arguments: &InspectArgs) -> Result<(), Failure> {
    let engine = place.open()?;
    let mut shown = Vec::new();
    for image in &arguments.images {
        shown.push(describe(&engine.inspect(image)?));
    }
    print(&format!("{:#}\n", Value::from(shown)));
    Ok(())
}

fn describe(image: &InspectedImage) -> Value {
    let InspectedImage { names, digest, index, manifest, config, size_bytes } = image;
    let repositories = names.iter().map(|name| {
        let repository = name.familiar();
        let repository = name.tag().map_or(repository.as_str(), |tag| {
            repository.strip_suffix(&format!(":{tag}")).unwrap_or(&repository)
        });
        format!("{repository}@{digest}")
    });
    let whole: Value = serde_json::from_slice(&config.to_bytes()).unwrap_or(Value::Null);
    let id = if index.is_some() { *digest } else { manifest.config.digest };
    let media_type = index.as_ref().map_or(&manifest.media_type, |index| &index.media_type);
    let mut shown = json!({
        "Id": id.to_string(),
        "RepoTags": names.iter().map(kiln_engine::ImageRef::familiar).collect::<Vec<_>>(),
        "RepoDigests": repositories.collect::<Vec<_>>(),
        "Created": config.created,
        "Author": config.author,
        "Architecture": config.architecture,
        "Os": config.os,
        "Size": size_bytes,
        "Config": whole["config"],
        "RootFS": {
            "Type": "layers",
            "Layers": config.rootfs.diff_ids.iter().map(ToString::to_string).collect::<Vec<_>>(),
        },
        "History": whole["history"],
        "Descriptor": {
            "mediaType": media_type,
            "digest": digest.to_string(),
        },
    });
    if let Some(index) = index {
        let images = index.manifests.iter().map(|image| {
            let platform = image.platform.as_ref().map(ToString::to_string);
            json!({"Id": image.digest.to_string(), "Platform": platform})
        });
        shown["Manifests"] = Value::from(images.collect::<Vec<_>>());
    }
    shown
}

/// Brings images in from an archive.
pub(super) fn load(place: &Place, arguments: &LoadArgs) -> Result<(), Failure> {
    let (name, reader): (String, Box<dyn Read>) = match &arguments.input {
        None => ("-".to_owned(), Box::new(io::stdin().lock())),
        Some(path) => {
            let file = File::open(path).map_err(|source| EngineError::ReadFile {
                what: "archive",
                path: path.clone(),
                source,
            })?;
            (path.display().to_string(), Box::new(file))
        }
    };
    let engine = place.open()?;
    for image in engine.load(&name, reader)? {
        if image.names.is_empty() {
            print(&format!("Loaded image: {}\n", image.manifest));
        }
        for name in &image.names {
            print(&format!("Loaded image: {}\n", name.familiar()));
        }
    }
    durable::in_background(&engine);
    Ok(())
}

/// Writes images to an archive.
pub(super) fn save(place: &Place, arguments: SaveArgs) -> Result<(), Failure> {
    let dest = arguments.output.map_or(Destination::Stdout, Destination::File);
    Ok(place.open()?.save(&arguments.images, &dest)?)
}

/// Takes names from images.
pub(super) fn rmi(place: &Place, arguments: &RmiArgs) -> Result<(), Failure> {
    let engine = place.open()?;
    for image in &arguments.images {
        for name in engine.remove_image(image)? {
            let familiar = name.parse::<kiln_engine::ImageRef>().map(|name| name.familiar());
            print(&format!("Untagged: {}\n", familiar.unwrap_or(name)));
        }
    }
    Ok(())
}
