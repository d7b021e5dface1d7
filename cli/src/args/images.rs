//! The verbs that bring images in, show them and take them out.

use std::path::PathBuf;

use clap::Args;

/// `kiln images`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
#[command(after_help = "\
Examples:
  kiln images
  Ids alone, whole, for use in scripts:
    kiln images -q --no-trunc")]
pub struct ImagesArgs {
    /// Print ids alone
    #[arg(short, long)]
    pub quiet: bool,
    /// Print whole ids
    #[arg(long)]
    pub no_trunc: bool,
}

/// `kiln inspect`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
#[command(after_help = "\
Examples:
  kiln inspect app
  What the image runs:
    kiln inspect app | jq '.[0].Config.Cmd'")]
pub struct InspectArgs {
    /// Images, by name or id
    #[arg(required = true, value_name = "IMAGE")]
    pub images: Vec<String>,
}

/// `kiln load`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
#[command(after_help = "\
Examples:
  kiln load -i app.tar
  docker save app | kiln load")]
pub struct LoadArgs {
    /// Archive of `docker save` or of an OCI layout (default: standard input)
    #[arg(short, long, value_name = "FILE")]
    pub input: Option<PathBuf>,
}

/// `kiln save`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
#[command(after_help = "\
Examples:
  kiln save -o app.tar app
  kiln save app | docker load")]
pub struct SaveArgs {
    /// File to write (default: standard output)
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Images, by name or id
    #[arg(required = true, value_name = "IMAGE")]
    pub images: Vec<String>,
}
