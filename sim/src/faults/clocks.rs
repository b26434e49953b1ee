//! Faults of clocks.

use crate::world::World;

/// Wall clocks jump by at most so much, in milliseconds.
const JUMP_MS_MAX: u64 = 5_000;

impl World {
    pub(super) fn wall_jump(&mut self) -> bool {
        let nodes = self.node_ids();
        let Some(node) = self.faults.chance.pick(&nodes).copied() else { return false };
        let jump_ms = i64::try_from(self.faults.chance.below(2 * JUMP_MS_MAX)).unwrap_or(0);
        self.node(node).clock.wall_ahead_ms = jump_ms - i64::try_from(JUMP_MS_MAX).unwrap_or(0);
        true
    }
}
