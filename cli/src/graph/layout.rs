//! Where the boxes of a graph stand, and the ways between them.
//!
//! The boxes are laid out by `rust-sugiyama`. It tells nothing of the ways that it plans for long edges, so each edge
//! that passes other ranks is given to it as a chain of points of its own, and the points come back with the boxes.
//! Sizes are pixels; y grows downwards, and a step stands below what it reads.

use rust_sugiyama::configure::Config;
use rust_sugiyama::from_vertices_and_edges;

/// The size of a box.
pub(super) const BOX: (f64, f64) = (300.0, 46.0);
/// The width that a passing edge takes.
const POINT: (f64, f64) = (16.0, 46.0);
/// Room between boxes.
const SPACING: f64 = 26.0;
/// The most boxes and points that are laid out: the time grows with their square.
const MAX_VERTICES: usize = 3000;

/// A graph that is laid out.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Layout {
    /// The middle of each box.
    pub(super) boxes: Vec<(f64, f64)>,
    /// For each edge the boxes that it joins, and the points on the way between them.
    pub(super) edges: Vec<Way>,
    pub(super) width: f64,
    pub(super) height: f64,
}

/// A way from one box to another.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Way {
    pub(super) from: usize,
    pub(super) to: usize,
    pub(super) points: Vec<(f64, f64)>,
}

/// A chain of vertices that stands for an edge.
struct Chain {
    from: usize,
    to: usize,
    points: Vec<usize>,
}

/// Lays out a graph of which each step's inputs come before it; nothing for one that is too large.
pub(super) fn lay_out(inputs: &[Vec<usize>]) -> Option<Layout> {
    if inputs.len() > MAX_VERTICES {
        return None;
    }
    let ranks = ranks(inputs);
    let mut sizes = vec![BOX; inputs.len()];
    let mut chains: Vec<Chain> = Vec::new();
    for (to, read) in inputs.iter().enumerate() {
        let mut read = read.clone();
        read.sort_unstable();
        read.dedup();
        for from in read {
            let (first, between) = (sizes.len(), ranks[to] - ranks[from] - 1);
            sizes.extend(std::iter::repeat_n(POINT, between));
            let points = (first..first + between).collect();
            chains.push(Chain { from, to, points });
        }
        if sizes.len() > MAX_VERTICES {
            return None;
        }
    }
    let places = place(&sizes, &chains);
    let way = |chain: Chain| Way {
        from: chain.from,
        to: chain.to,
        points: chain.points.iter().map(|&point| places[point]).collect(),
    };
    let right = places.iter().zip(&sizes).map(|((x, _), (width, _))| x + width / 2.0);
    let bottom = places.iter().zip(&sizes).map(|((_, y), (_, height))| y + height / 2.0);
    Some(Layout {
        boxes: places[..inputs.len()].to_vec(),
        width: right.fold(0.0, f64::max) + SPACING,
        height: bottom.fold(0.0, f64::max) + SPACING,
        edges: chains.into_iter().map(way).collect(),
    })
}

/// How many steps are above each on the longest way.
fn ranks(inputs: &[Vec<usize>]) -> Vec<usize> {
    let mut ranks: Vec<usize> = Vec::with_capacity(inputs.len());
    for read in inputs {
        ranks.push(read.iter().map(|&input| ranks[input] + 1).max().unwrap_or(0));
    }
    ranks
}

/// The middles of all boxes and points, with nothing above or left of the origin; parts that no edge joins stand
/// side by side.
fn place(sizes: &[(f64, f64)], chains: &[Chain]) -> Vec<(f64, f64)> {
    let id = |index: usize| u32::try_from(index).unwrap_or(u32::MAX);
    let vertices: Vec<_> =
        sizes.iter().enumerate().map(|(index, size)| (id(index), *size)).collect();
    let mut edges = Vec::new();
    for chain in chains {
        let stops = [chain.from].into_iter().chain(chain.points.iter().copied()).chain([chain.to]);
        let stops: Vec<_> = stops.collect();
        edges.extend(stops.windows(2).map(|pair| (id(pair[0]), id(pair[1]))));
    }
    let config =
        Config { vertex_spacing: SPACING, transpose: sizes.len() < 400, ..Config::default() };
    let mut places = vec![(0.0, 0.0); sizes.len()];
    let mut left = 0.0;
    for (part, _, _) in from_vertices_and_edges(&vertices, &edges, &config) {
        let edge = |of: fn(f64, f64) -> f64, start: f64, side: f64| {
            part.iter()
                .fold(start, |least, (index, (x, _))| of(least, x + side * sizes[*index].0 / 2.0))
        };
        let (least, most) = (edge(f64::min, f64::MAX, -1.0), edge(f64::max, f64::MIN, 1.0));
        let top =
            part.iter().map(|(index, (_, y))| y - sizes[*index].1 / 2.0).fold(f64::MAX, f64::min);
        for (index, (x, y)) in &part {
            places[*index] = (x - least + left + SPACING, y - top + SPACING);
        }
        left += most - least + SPACING;
    }
    places
}
