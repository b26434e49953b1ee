//! The newest cluster map that this node has, for whoever has an older one.

use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use flotilla_topology::Epoch;

/// Holds one map; epoch 0 and no bytes while there is none.
#[derive(Debug, Default)]
pub(super) struct Shelf(Mutex<(Epoch, Bytes)>);

impl Shelf {
    /// Puts a map there, unless a newer one is there already. Says whether it did.
    pub(super) fn put(&self, epoch: Epoch, map: Bytes) -> bool {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let newer = epoch > held.0;
        if newer {
            *held = (epoch, map);
        }
        newer
    }

    pub(super) fn epoch(&self) -> Epoch {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).0
    }

    pub(super) fn get(&self) -> (Epoch, Bytes) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
