//! Nothing at all.

use std::io;

use kiln_solver::Event;

use super::Renderer;

/// Shows nothing of what happens.
#[derive(Debug, Clone, Copy, Default)]
pub struct Quiet;

impl Renderer for Quiet {
    fn event(&mut self, _: &Event) -> io::Result<()> {
        Ok(())
    }
}
