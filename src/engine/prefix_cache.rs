//! Which block holds which ids: full blocks kept for reuse, least recently used out.
//!
//! A block's key is the identity of the block before it and its own ids, compared in full. So
//! equal keys mean, by induction, equal ids from position 0: the map's hash covers the whole prefix
//! like a chained hash, but no collision, found or forged, can hand over another prompt's block.
//!
//! Promises: a kept block's predecessor is kept too; nothing is looked up that was not computed.
//! Never knows: who uses a block.

use std::collections::{BTreeMap, HashMap};

use super::block_manager::BlockId;
use crate::model::BLOCK_SIZE;

/// The identity of a kept block's content, never used twice. 0 stands before every first block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Serial(u64);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    parent: Serial,
    ids: [u32; BLOCK_SIZE],
}

/// What a block holds.
#[derive(Clone, Copy, Debug)]
struct Content {
    key: Key,
    serial: Serial,
    /// When it was last let go, if it is in `idle`.
    idle_since: Option<u64>,
}

/// See the module's page.
#[derive(Debug)]
pub(super) struct PrefixCache {
    blocks: HashMap<Key, BlockId>,
    /// By block id.
    contents: Vec<Option<Content>>,
    /// Kept blocks that no sequence uses, the longest unused first.
    idle: BTreeMap<u64, BlockId>,
    clock: u64,
    last_serial: u64,
}

impl PrefixCache {
    pub(super) fn new(num_blocks: usize) -> Self {
        Self {
            blocks: HashMap::new(),
            contents: vec![None; num_blocks],
            idle: BTreeMap::new(),
            clock: 0,
            last_serial: 0,
        }
    }

    /// The block that holds `ids` (one block's worth) after `parent`.
    pub(super) fn get(&self, parent: Serial, ids: &[u32]) -> Option<(BlockId, Serial)> {
        let key = Key { parent, ids: ids.try_into().ok()? };
        let block = *self.blocks.get(&key)?;
        Some((block, self.contents[block.index()]?.serial))
    }

    /// Keeps `block`, which holds `ids` after `parent`; such a block must not be there yet.
    pub(super) fn insert(&mut self, parent: Serial, ids: &[u32], block: BlockId) -> Serial {
        let ids = ids.try_into().expect("only full blocks are kept");
        let key = Key { parent, ids };
        self.last_serial += 1;
        let serial = Serial(self.last_serial);
        let previous = self.blocks.insert(key, block);
        assert!(previous.is_none(), "the same content was kept twice");
        self.contents[block.index()] = Some(Content { key, serial, idle_since: None });
        serial
    }

    /// Whether a block has content worth keeping.
    pub(super) fn contains(&self, block: BlockId) -> bool {
        self.contents[block.index()].is_some()
    }

    /// A kept block that no sequence uses any more: the last to be evicted, for now.
    pub(super) fn set_idle(&mut self, block: BlockId) {
        let content = self.contents[block.index()].as_mut().expect("only kept blocks idle");
        self.clock += 1;
        content.idle_since = Some(self.clock);
        self.idle.insert(self.clock, block);
    }

    /// A kept block that a sequence uses again.
    pub(super) fn set_used(&mut self, block: BlockId) {
        let content = self.contents[block.index()].as_mut().expect("only kept blocks idle");
        let since = content.idle_since.take().expect("it was idle");
        self.idle.remove(&since);
    }

    pub(super) fn is_idle(&self, block: BlockId) -> bool {
        self.contents[block.index()].is_some_and(|content| content.idle_since.is_some())
    }

    pub(super) fn num_idle(&self) -> usize {
        self.idle.len()
    }

    /// Forgets the block that was idle longest and gives it away.
    pub(super) fn evict(&mut self) -> Option<BlockId> {
        let (_, block) = self.idle.pop_first()?;
        let content = self.contents[block.index()].take().expect("only kept blocks idle");
        self.blocks.remove(&content.key);
        Some(block)
    }

    /// Proves that the maps agree and that every chain is whole.
    pub(super) fn check(&self) {
        let serials: HashMap<Serial, BlockId> = (0..)
            .map(BlockId)
            .zip(&self.contents)
            .filter_map(|(block, content)| Some((content.as_ref()?.serial, block)))
            .collect();
        assert_eq!(serials.len(), self.blocks.len(), "as many kept blocks as keys");
        let mut num_idle = 0;
        for (key, block) in &self.blocks {
            let content = self.contents[block.index()].as_ref().expect("a key's block is kept");
            assert_eq!(content.key, *key, "a key leads to its block");
            if let Some(since) = content.idle_since {
                num_idle += 1;
                assert_eq!(self.idle.get(&since), Some(block), "an idle block is in the queue");
            }
            if key.parent != Serial::default() {
                let parent = serials.get(&key.parent).expect("a kept block's predecessor is kept");
                let parent = self.contents[parent.index()].as_ref().expect("it is kept");
                // A predecessor in use is not evicted; an idle one not before its successors.
                let parent_since = parent.idle_since.unwrap_or(u64::MAX);
                let since = content.idle_since.unwrap_or(u64::MAX);
                assert!(parent_since >= since, "a predecessor is evicted first");
            }
        }
        assert_eq!(num_idle, self.idle.len(), "only idle blocks are in the queue");
    }
}
