//! Blocks of KV memory: which are free, cached or owned.
//! Promises: a block is in exactly one of these states, which `check` proves; a block that two
//! sequences own is never written; content of a freed block stays until the block is taken.
//! Never knows: text, accounts, tensors, lanes.

use super::prefix_cache::{PrefixCache, Serial};
use super::stats::BlockCounts;
use crate::model::BLOCK_SIZE;

/// A run of [`BLOCK_SIZE`] KV positions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockId(pub u32);

impl BlockId {
    pub(super) fn index(self) -> usize {
        self.0 as usize
    }
}

/// A sequence's blocks in order: block `i` holds positions `i * BLOCK_SIZE ..`.
///
/// Owns one reference to each; goes back with [`BlockManager::release`], never just dropped.
#[derive(Debug, Default)]
pub struct BlockTable {
    blocks: Vec<BlockId>,
    /// Full blocks, from the first, that the prefix cache knows.
    num_kept: usize,
    /// The content of the last of these.
    tail: Serial,
}

impl BlockTable {
    /// The blocks in order.
    pub fn blocks(&self) -> &[BlockId] {
        &self.blocks
    }

    /// Positions that the blocks have room for.
    pub fn capacity(&self) -> usize {
        self.blocks.len() * BLOCK_SIZE
    }
}

/// See the module's page.
#[derive(Debug)]
pub struct BlockManager {
    /// Sequences that own each block.
    owners: Vec<u32>,
    /// Blocks without content; the last is taken first.
    free: Vec<BlockId>,
    cache: PrefixCache,
    has_prefix_cache: bool,
}

impl BlockManager {
    /// All blocks free.
    pub fn new(num_blocks: usize, has_prefix_cache: bool) -> Self {
        let num = u32::try_from(num_blocks).expect("block ids are u32");
        Self {
            owners: vec![0; num_blocks],
            free: (0..num).rev().map(BlockId).collect(),
            cache: PrefixCache::new(num_blocks),
            has_prefix_cache,
        }
    }

    /// Takes blocks for all of `ids`, and tells how many leading ids are computed already.
    ///
    /// `None`, and nothing changed, unless `headroom` blocks are left after it. Of the ids from
    /// `num_spared` on, none is found computed: something is wanted of their rows.
    pub fn admit(
        &mut self,
        ids: &[u32],
        num_spared: usize,
        headroom: usize,
    ) -> Option<(BlockTable, usize)> {
        let mut table = BlockTable::default();
        let mut num_idle = 0;
        if self.has_prefix_cache {
            for chunk in ids[..num_spared].chunks_exact(BLOCK_SIZE) {
                let Some((block, serial)) = self.cache.get(table.tail, chunk) else { break };
                num_idle += usize::from(self.cache.is_idle(block));
                table.blocks.push(block);
                table.tail = serial;
            }
        }
        table.num_kept = table.blocks.len();
        let num_new = ids.len().div_ceil(BLOCK_SIZE) - table.num_kept;
        if num_new + headroom > self.num_available() - num_idle {
            return None;
        }
        for &block in &table.blocks {
            self.add_owner(block);
        }
        for _ in 0..num_new {
            let block = self.take().expect("as many blocks as were counted are available");
            table.blocks.push(block);
        }
        let num_cached = table.num_kept * BLOCK_SIZE;
        Some((table, num_cached))
    }

    /// Gives `table` one more block. False: none is left.
    pub fn grow(&mut self, table: &mut BlockTable) -> bool {
        let block = self.take();
        table.blocks.extend(block);
        block.is_some()
    }

    /// Swaps blocks of `table` that are still to be computed for such as another sequence has
    /// computed meanwhile. `spared`: the sequence's ids that `admit` might have found computed.
    /// Returns how many leading ids are computed in kept blocks.
    pub fn catch_up(&mut self, table: &mut BlockTable, spared: &[u32]) -> usize {
        if self.has_prefix_cache {
            for chunk in spared.chunks_exact(BLOCK_SIZE).skip(table.num_kept) {
                let Some((kept, serial)) = self.cache.get(table.tail, chunk) else { break };
                self.swap_for_kept(table, kept, serial);
            }
        }
        table.num_kept * BLOCK_SIZE
    }

    /// Takes back the blocks that `len` positions do not need.
    pub fn shrink(&mut self, table: &mut BlockTable, len: usize) {
        let num_needed = len.div_ceil(BLOCK_SIZE);
        assert!(table.num_kept <= num_needed, "the prefix cache knows the blocks it has");
        while table.blocks.len() > num_needed {
            self.remove_owner(table.blocks.pop().expect("there are too many"));
        }
    }

    /// Keeps the blocks that are full now for reuse. `computed`: the ids in the KV cache.
    ///
    /// A block whose like is kept already is replaced by that one: equal ids at equal positions
    /// have equal keys and values, and memory holds them once.
    pub fn keep_full(&mut self, table: &mut BlockTable, computed: &[u32]) {
        if !self.has_prefix_cache {
            return;
        }
        for chunk in computed.chunks_exact(BLOCK_SIZE).skip(table.num_kept) {
            if let Some((kept, serial)) = self.cache.get(table.tail, chunk) {
                self.swap_for_kept(table, kept, serial);
                continue;
            }
            let block = table.blocks[table.num_kept];
            table.tail = self.cache.insert(table.tail, chunk, block);
            table.num_kept += 1;
        }
    }

    /// Puts `kept` into the place of the first block of `table` that is not kept.
    fn swap_for_kept(&mut self, table: &mut BlockTable, kept: BlockId, serial: Serial) {
        self.add_owner(kept);
        let replaced = std::mem::replace(&mut table.blocks[table.num_kept], kept);
        self.remove_owner(replaced);
        table.tail = serial;
        table.num_kept += 1;
    }

    /// Takes a sequence's blocks back. Those that were kept stay until memory is needed.
    pub fn release(&mut self, table: BlockTable) {
        // The last first: of a prefix, the end is evicted before the start.
        for block in table.blocks.into_iter().rev() {
            self.remove_owner(block);
        }
    }

    /// Blocks that can be taken: free ones and cached ones.
    pub fn num_available(&self) -> usize {
        self.free.len() + self.cache.num_idle()
    }

    /// How many blocks are in which state.
    pub fn counts(&self) -> BlockCounts {
        let (free, cached, total) = (self.free.len(), self.cache.num_idle(), self.owners.len());
        BlockCounts { free, cached, owned: total - free - cached, total }
    }

    /// Proves that every block is in one state and owned exactly as `tables` say. Panics if not.
    pub fn check<'a>(&self, tables: impl Iterator<Item = &'a BlockTable>) {
        let mut owners = vec![0; self.owners.len()];
        for block in tables.flat_map(|table| &table.blocks) {
            owners[block.index()] += 1;
        }
        assert_eq!(owners, self.owners, "owners as counted and as in the block tables");
        let mut is_free = vec![false; self.owners.len()];
        for block in &self.free {
            let was_free = std::mem::replace(&mut is_free[block.index()], true);
            assert!(!was_free, "{block:?} is free twice");
        }
        for (block, num_owners) in (0..).map(BlockId).zip(owners) {
            let states = [is_free[block.index()], self.cache.is_idle(block), num_owners > 0];
            let num_states = states.into_iter().filter(|&is_in| is_in).count();
            assert_eq!(num_states, 1, "{block:?}: free, cached, owned are {states:?}");
            assert!(!is_free[block.index()] || !self.cache.contains(block), "free, with content");
        }
        self.cache.check();
    }

    fn take(&mut self) -> Option<BlockId> {
        let block = self.free.pop().or_else(|| self.cache.evict())?;
        self.owners[block.index()] = 1;
        Some(block)
    }

    fn add_owner(&mut self, block: BlockId) {
        if self.cache.is_idle(block) {
            self.cache.set_used(block);
        }
        self.owners[block.index()] += 1;
    }

    fn remove_owner(&mut self, block: BlockId) {
        let owners = &mut self.owners[block.index()];
        *owners = owners.checked_sub(1).expect("a block table owns its blocks");
        if *owners > 0 {
            return;
        }
        if self.cache.contains(block) {
            self.cache.set_idle(block);
        } else {
            self.free.push(block);
        }
    }
}
