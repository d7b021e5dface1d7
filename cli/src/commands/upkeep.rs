//! `kiln builder du`, `kiln builder prune`, `kiln system df` and `kiln system check`.

use std::io::{self, BufRead as _, IsTerminal as _};
use std::time::{SystemTime, UNIX_EPOCH};

use kiln_cli::args::{CheckArgs, DfArgs, DuArgs, Filter, Format, PruneArgs, kind_name};
use kiln_cli::exit_code::ExitCode;
use kiln_engine::check::{Fault, Part, Repair};
use kiln_engine::gc::{Entry, EntryKind, Limits, Sum, Wanted};
use kiln_engine::{Amount, Engine, EngineError};
use serde_json::{Value, json};

use super::report::{self, note, show};
use super::table::{age, size, table};
use super::{Failure, Place, print};

/// Digits of an id that are enough for people.
const SHORT_ID: usize = 25;
/// The most of a description that a table shows.
const DESCRIPTION_MAX: usize = 60;

/// Lists what the cache holds.
pub(super) fn du(place: &Place, arguments: &DuArgs) -> Result<(), Failure> {
    let engine = place.open()?;
    let usage = engine.usage()?;
    let entries: Vec<_> =
        usage.entries.iter().filter(|entry| fits(entry, &arguments.filters)).collect();
    match arguments.format {
        Format::Json => {
            print(&entries.iter().map(|e| format!("{}\n", object(e))).collect::<String>())
        }
        Format::Table if arguments.verbose => {
            print(&entries.iter().map(|entry| paragraph(entry)).collect::<String>());
        }
        Format::Table => print(&list(&entries)),
    }
    if arguments.format == Format::Table {
        // Of each kind what it really takes: several records may need one layer.
        let sums = [usage.steps, usage.mounts, usage.contexts, usage.remotes];
        let sum = |of: fn(&Sum) -> u64| sums.iter().map(of).sum::<u64>();
        print(&format!(
            "Reclaimable:  {}\nTotal:  {}\n",
            size(sum(|sum| sum.reclaimable_bytes)),
            size(sum(|sum| sum.size_bytes))
        ));
    }
    Ok(())
}

/// Removes what is not used.
pub(super) fn prune(place: &Place, arguments: &PruneArgs) -> Result<(), Failure> {
    let engine = place.open()?;
    let wanted = wanted(&engine, arguments)?;
    if !arguments.force && !arguments.dry_run && io::stdin().is_terminal() && !is_meant(arguments) {
        note("note", "nothing was removed");
        return Err(Failure::Told(ExitCode::Usage));
    }
    let pruned =
        if arguments.dry_run { engine.would_prune(&wanted)? } else { engine.prune(&wanted)? };
    let entries: Vec<_> = pruned.entries.iter().collect();
    if arguments.verbose {
        print(&entries.iter().map(|entry| paragraph(entry)).collect::<String>());
    } else if !entries.is_empty() {
        print(&list(&entries));
    }
    let would = if arguments.dry_run { "would be reclaimed" } else { "reclaimed" };
    print(&format!("Total {would}:  {}\n", size(pruned.reclaimed_bytes)));
    Ok(())
}

/// Shows what the store takes.
pub(super) fn df(place: &Place, arguments: &DfArgs) -> Result<(), Failure> {
    let engine = place.open()?;
    let usage = engine.usage()?;
    let kinds = [
        ("Images", usage.images),
        ("Build Cache", usage.steps),
        ("Cache Mounts", usage.mounts),
        ("Contexts", usage.contexts),
        ("Downloads", usage.remotes),
        ("History", engine.history_usage()?),
        ("Set Aside", usage.set_aside),
    ];
    if arguments.format == Format::Json {
        let line = |(name, sum): &(&str, Sum)| {
            let value = json!({
                "Type": name,
                "TotalCount": sum.count,
                "Active": sum.active,
                "Size": sum.size_bytes,
                "Reclaimable": sum.reclaimable_bytes,
            });
            format!("{value}\n")
        };
        print(&kinds.iter().map(line).collect::<String>());
        return Ok(());
    }
    let mut rows = vec![["TYPE", "TOTAL", "ACTIVE", "SIZE", "RECLAIMABLE"].map(str::to_owned)];
    rows.extend(kinds.map(|(name, sum)| {
        let Sum { count, active, size_bytes, reclaimable_bytes } = sum;
        let percent = (reclaimable_bytes * 100).checked_div(size_bytes);
        let percent = percent.map_or_else(String::new, |percent| format!(" ({percent}%)"));
        let reclaimable = format!("{}{percent}", size(reclaimable_bytes));
        [name.to_owned(), count.to_string(), active.to_string(), size(size_bytes), reclaimable]
    }));
    print(&table(&rows));
    if arguments.verbose && !usage.entries.is_empty() {
        print(&format!("\n{}", list(&usage.entries.iter().collect::<Vec<_>>())));
    }
    Ok(())
}

/// Looks whether the store is whole.
pub(super) fn check(place: &Place, arguments: &CheckArgs) -> Result<(), Failure> {
    let repair = if arguments.repair { Repair::Yes } else { Repair::No };
    let checked = Engine::check_store(&place.root, repair)?;
    if let Some(rebuilt) = &checked.rebuilt {
        report::rebuilt(rebuilt);
    }
    let mut text = String::new();
    for (part, count) in &checked.counts {
        let of_part = checked.faults.iter().filter(|fault| fault.part == *part);
        text.push_str(&format!("{:<10} {count:>8}  {} wrong\n", part_name(*part), of_part.count()));
    }
    print(&text);
    for Fault { part, name, what, repaired } in &checked.faults {
        let done = match (repaired, part) {
            (false, _) => "",
            (true, Part::Database) => "; made anew",
            (true, Part::Build) => "; set right",
            (true, _) => "; dropped",
        };
        let part = part_name(*part);
        show(&format!("{part} {}: {}{done}\n", clean(name), clean(what)));
    }
    if checked.faults.iter().all(|fault| fault.repaired) {
        return Ok(());
    }
    if !arguments.repair {
        let is_damaged = checked.faults.iter().any(|fault| fault.part == Part::Database);
        show(if is_damaged {
            "  = help: `kiln system check --repair` makes the database anew from what is whole\n"
        } else {
            "  = help: `kiln system check --repair` drops what is wrong\n"
        });
    }
    Err(Failure::Told(ExitCode::Store))
}

const fn part_name(part: Part) -> &'static str {
    match part {
        Part::Database => "database",
        Part::Layer => "layer",
        Part::Blob => "blob",
        Part::Record => "record",
        Part::Memo => "memo",
        Part::Image => "image",
        Part::Index => "index",
        Part::Mount => "mount",
        Part::Staging => "staging",
        Part::Build => "build",
    }
}

fn wanted(engine: &Engine, arguments: &PruneArgs) -> Result<Wanted, EngineError> {
    let bytes = |amount: Option<Amount>| amount.map(|amount| engine.bytes(amount)).transpose();
    let limits = Limits {
        max_used_bytes: bytes(arguments.max_used_space)?,
        reserved_bytes: bytes(arguments.reserved_space)?,
        min_free_bytes: bytes(arguments.min_free_space)?,
    };
    let mut wanted = Wanted { all: arguments.all, limits, ..Wanted::default() };
    for filter in &arguments.filters {
        match filter {
            Filter::UnusedFor(time) => {
                wanted.unused_for = Some(wanted.unused_for.map_or(*time, |other| other.max(*time)));
            }
            Filter::Kind(kind) => {
                wanted.kinds.insert(*kind);
            }
            Filter::Id(id) => wanted.ids.push(id.clone()),
        }
    }
    Ok(wanted)
}

/// Asks on the terminal.
fn is_meant(arguments: &PruneArgs) -> bool {
    let what =
        if arguments.all { "all build cache" } else { "all build cache that no image shares" };
    show(&format!("WARNING! This will remove {what} that is not in use. Continue? [y/N] "));
    let mut answer = String::new();
    // No answer is a no.
    let read = io::stdin().lock().read_line(&mut answer).is_ok();
    read && matches!(answer.trim(), "y" | "Y" | "yes")
}

/// Whether an entry passes all filters; of several of one key it passes any, but for the age.
fn fits(entry: &Entry, filters: &[Filter]) -> bool {
    let mut kinds = filters.iter().filter_map(|filter| match filter {
        Filter::Kind(kind) => Some(*kind == entry.kind),
        Filter::UnusedFor(_) | Filter::Id(_) => None,
    });
    let mut ids = filters.iter().filter_map(|filter| match filter {
        Filter::Id(id) => Some(entry.id.starts_with(id.as_str())),
        Filter::UnusedFor(_) | Filter::Kind(_) => None,
    });
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    let unused_ms = now.saturating_sub(u128::try_from(entry.used_ms).unwrap_or(0));
    let old = filters.iter().all(|filter| match filter {
        Filter::UnusedFor(time) => unused_ms >= time.as_millis(),
        Filter::Kind(_) | Filter::Id(_) => true,
    });
    old && kinds.next().is_none_or(|first| first || kinds.any(|fits| fits))
        && ids.next().is_none_or(|first| first || ids.any(|fits| fits))
}

fn list(entries: &[&Entry]) -> String {
    let heads = ["ID", "TYPE", "RECLAIMABLE", "SHARED", "SIZE", "LAST ACCESSED", "DESCRIPTION"];
    let mut rows = vec![heads.map(str::to_owned)];
    rows.extend(entries.iter().map(|entry| {
        [
            entry.id.chars().take(SHORT_ID).collect(),
            kind_name(entry.kind).to_owned(),
            (!entry.in_use).to_string(),
            entry.shared.to_string(),
            size(entry.size_bytes),
            last_used(entry),
            shortened(&clean(&entry.description)),
        ]
    }));
    table(&rows)
}

fn last_used(entry: &Entry) -> String {
    if entry.kind == EntryKind::Leftover { String::new() } else { age(entry.used_ms) }
}

fn paragraph(entry: &Entry) -> String {
    let known = |ms: i64| if ms == 0 { "-".to_owned() } else { age(ms) };
    format!(
        "ID:             {}\nType:           {}\nCreated:        {}\nLast used:      {}\n\
         Reclaimable:    {}\nShared:         {}\nSize:           {}\nTime to make:   {:.1}s\n\
         Description:    {}\n\n",
        entry.id,
        kind_name(entry.kind),
        known(entry.created_ms),
        known(entry.used_ms),
        !entry.in_use,
        entry.shared,
        size(entry.size_bytes),
        std::time::Duration::from_millis(entry.duration_ms).as_secs_f64(),
        clean(&entry.description)
    )
}

fn object(entry: &Entry) -> Value {
    json!({
        "ID": entry.id,
        "Type": kind_name(entry.kind),
        "Size": entry.size_bytes,
        "CreatedAt": entry.created_ms,
        "LastUsedAt": entry.used_ms,
        "DurationMs": entry.duration_ms,
        "InUse": entry.in_use,
        "Shared": entry.shared,
        "Description": entry.description,
    })
}

/// On one line, and without what could steer a terminal: the text is a Dockerfile's.
fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn shortened(text: &str) -> String {
    if text.chars().count() <= DESCRIPTION_MAX {
        return text.to_owned();
    }
    text.chars().take(DESCRIPTION_MAX - 1).chain(['…']).collect()
}
