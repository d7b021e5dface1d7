//! What it costs to claim a layer: run with a number of layers.

use std::error::Error;
use std::time::Instant;

use kiln_cache::Store;
use kiln_ir::Digest;

fn main() -> Result<(), Box<dyn Error>> {
    let count: u32 = std::env::args().nth(1).map_or(Ok(10_000), |text| text.parse())?;
    let dir = tempfile::tempdir()?;
    let store = Store::open(dir.path())?;
    let layers = store.layers();
    for round in ["first", "again"] {
        let start = Instant::now();
        for number in 0..count {
            layers.contains(&Digest::of(&number.to_le_bytes()))?;
        }
        tell(round, start.elapsed().as_secs_f64() * 1e6 / f64::from(count));
    }
    Ok(store.close()?)
}

#[expect(clippy::print_stdout, reason = "an example shows its result")]
fn tell(round: &str, micros: f64) {
    println!("{round}: {micros:.2} µs each");
}
