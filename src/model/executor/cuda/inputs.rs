//! What a step tells the GPU: numbers in one buffer, copied before the step's launches.
//!
//! Each kind of number has a fixed place, so that recorded launches find those of any later step. A
//! step with fewer rows than a recording is filled up with rows of no sequence: they write no keys
//! and values, and attention has no items for them.
//!
//! Promises: every number is within the bounds that the launches are told, since the batch that it
//! comes from has passed `ForwardBatch::check`.
//! Never knows: layers, weights.

use std::ops::Range;

use kernels::cuda::{
    AttentionItems, Buffer, Gpu, ITEM_WORDS, Indices, NO_SLOT, PrefillTiles, StepRows, View,
    ViewMut, list_items, list_tiles,
};

use crate::model::batch::{BLOCK_SIZE, BatchSequence, ForwardBatch};
use crate::model::decoder::DecoderShape;
use crate::model::error::ModelError;

const _: () = assert!(BLOCK_SIZE == 16, "blocks of the engine are blocks of kernels");

/// Rows of one sequence in a step from which on they go to attention together. It is no speed that
/// this was measured by: fewer would leave a warp's sixteen without work.
const PREFILL_ROWS: usize = 16;

/// Rows of one sequence in a step from which on the library multiplies them, apart from those of
/// sequences with fewer. An estimate for an H200, not measured: with fewer, making dense weights of
/// quantized ones takes longer than is won.
const LONG_ROWS: usize = 256;

/// Numbers of block tables, and of lists beyond the first, that there is room for from the start.
pub(super) const TABLE_WORDS: usize = 1 << 16;

/// The numbers of the present step, on the host and on the GPU.
#[derive(Debug)]
pub(super) struct StepInputs {
    shape: DecoderShape,
    max_items: usize,
    words: Vec<u32>,
    device: Buffer<u32>,
    places: Places,
    /// Rows of the step, those that fill it up included.
    rows: usize,
    num_outputs: usize,
    num_hidden: usize,
    num_tables: usize,
    /// For each kind of window: the launches that attention takes.
    launches: Vec<Vec<ItemList>>,
    /// Query heads of a kv head.
    group: usize,
    /// Where the tiles of rows are that go to attention together.
    tiles: Range<usize>,
    /// Runs of the rows of sequences with very many.
    long: Vec<Range<usize>>,
}

/// Where each kind of number begins.
#[derive(Debug)]
struct Places {
    tokens: usize,
    positions: usize,
    slots: usize,
    table_starts: usize,
    outputs: usize,
    hidden: usize,
    /// One after the other, the first lists of each kind of window: the number of items, then, at
    /// the next multiple of an item, these.
    items: Vec<usize>,
    block_tables: usize,
}

/// The items of one launch.
#[derive(Debug)]
struct ItemList {
    /// Place of their number.
    count: usize,
    items: Range<usize>,
}

/// How a step's numbers lie.
#[derive(Debug, Clone, Copy)]
pub(super) struct Set {
    /// They are in another buffer than those before: recordings must not be used any more.
    pub(super) has_moved: bool,
    /// Attention takes one launch a layer, as it does in recordings.
    pub(super) is_uniform: bool,
}

impl StepInputs {
    /// For batches of this shape, of a model with so many query heads of a kv head and kinds of
    /// windows; attention has room for the parts of `max_items` items.
    pub(super) fn new(
        gpu: &dyn Gpu,
        shape: DecoderShape,
        max_items: usize,
        [group, num_windows]: [usize; 2],
    ) -> Result<Self, ModelError> {
        let mut end = 0;
        let mut place = |len: usize| {
            let start = end;
            end = (start + len).next_multiple_of(ITEM_WORDS);
            start
        };
        let places = Places {
            tokens: place(shape.max_tokens),
            positions: place(shape.max_tokens),
            slots: place(shape.max_tokens),
            table_starts: place(shape.max_tokens),
            outputs: place(shape.max_outputs),
            hidden: place(shape.max_tokens),
            items: (0..num_windows).map(|_| place(ITEM_WORDS * (1 + max_items))).collect(),
            block_tables: place(0),
        };
        Ok(Self {
            shape,
            max_items,
            words: vec![0; places.block_tables],
            device: Buffer::zeros(gpu, places.block_tables + TABLE_WORDS)?,
            places,
            rows: 0,
            num_outputs: 0,
            num_hidden: 0,
            num_tables: 0,
            launches: Vec::new(),
            group,
            tiles: 0..0,
            long: Vec::new(),
        })
    }

    /// Rows that a step can be filled up to, each with logits.
    pub(super) fn max_bucket(&self) -> usize {
        self.shape.max_tokens.min(self.shape.max_outputs)
    }

    /// Takes a batch over, filled up to `bucket` rows. `windows` are the kinds of attention that
    /// the model's layers have.
    pub(super) fn set(
        &mut self,
        gpu: &dyn Gpu,
        batch: &ForwardBatch,
        windows: &[Option<usize>],
        bucket: Option<usize>,
    ) -> Result<Set, ModelError> {
        // Checked here too, against this executor's own bounds: kernels rely on them.
        batch.check(&self.shape)?;
        self.rows = bucket.unwrap_or(batch.num_tokens());
        self.num_outputs = bucket.unwrap_or(batch.outputs.len());
        self.num_hidden = batch.hidden.len();
        self.num_tables = batch.block_tables.len();
        let starts = batch
            .sequences
            .iter()
            .flat_map(|sequence| sequence.rows.clone().map(|_| sequence.blocks.start));
        let Self { words, places, rows, num_outputs, .. } = self;
        words.truncate(places.block_tables);
        let mut put = |at: usize, numbers: &mut dyn Iterator<Item = u32>, len: usize, fill: u32| {
            let numbers = numbers.chain(std::iter::repeat(fill));
            words[at..at + len].iter_mut().zip(numbers).for_each(|(word, number)| *word = number);
        };
        put(places.tokens, &mut batch.tokens.iter().copied(), *rows, 0);
        put(places.positions, &mut batch.positions.iter().copied(), *rows, 0);
        put(places.slots, &mut batch.slots.iter().copied(), *rows, NO_SLOT);
        put(places.table_starts, &mut { starts }, *rows, 0);
        put(places.outputs, &mut batch.outputs.iter().copied(), *num_outputs, 0);
        put(places.hidden, &mut batch.hidden.iter().copied(), batch.hidden.len(), 0);
        words.extend_from_slice(&batch.block_tables);
        self.launches.clear();
        for (nth, window) in windows.iter().enumerate() {
            self.list_attention(batch, nth, *window);
        }
        self.list_prefill(batch);
        self.list_long(batch);
        let has_moved = self.upload(gpu)?;
        let is_uniform =
            self.tiles.is_empty() && self.launches.iter().all(|lists| lists.len() == 1);
        Ok(Set { has_moved, is_uniform })
    }

    /// The rows of sequences with very many, those side by side as one run.
    fn list_long(&mut self, batch: &ForwardBatch) {
        self.long.clear();
        let all = batch.sequences.iter().map(rows_of);
        for rows in all.filter(|rows| rows.len() >= LONG_ROWS) {
            match self.long.last_mut() {
                Some(before) if before.end == rows.start => before.end = rows.end,
                _ => self.long.push(rows),
            }
        }
    }

    /// Tiles of the sequences with many rows.
    fn list_prefill(&mut self, batch: &ForwardBatch) {
        let start = self.words.len();
        for sequence in batch.sequences.iter().filter(|sequence| is_prefill(sequence)) {
            list_tiles(rows_of(sequence), self.group, &mut self.words);
        }
        self.tiles = start..self.words.len();
    }

    /// Items of the other rows, in launches that have room for their parts. The first has its fixed
    /// place.
    fn list_attention(&mut self, batch: &ForwardBatch, nth: usize, window: Option<usize>) {
        let (mut lists, mut items, mut of_row) = (Vec::new(), Vec::new(), Vec::new());
        let sequences = batch.sequences.iter().filter(|sequence| !is_prefill(sequence));
        for row in sequences.flat_map(|sequence| sequence.rows.clone()) {
            let row = row as usize;
            of_row.clear();
            list_items(row, batch.positions[row] as usize, window, &mut of_row);
            if items.len() + of_row.len() > self.max_items * ITEM_WORDS {
                lists.push(self.put_items(lists.is_empty().then_some(nth), &items));
                items.clear();
            }
            items.extend_from_slice(&of_row);
        }
        lists.push(self.put_items(lists.is_empty().then_some(nth), &items));
        self.launches.push(lists);
    }

    fn put_items(&mut self, first_of: Option<usize>, items: &[u32]) -> ItemList {
        let number = (items.len() / ITEM_WORDS) as u32;
        let count = match first_of {
            Some(window) => self.places.items[window],
            None => {
                let count = self.words.len().next_multiple_of(ITEM_WORDS);
                self.words.resize(count + ITEM_WORDS + items.len(), 0);
                count
            }
        };
        let place = count + ITEM_WORDS..count + ITEM_WORDS + items.len();
        self.words[count] = number;
        self.words[place.clone()].copy_from_slice(items);
        ItemList { count, items: place }
    }

    /// Copies what is used; true if that took another buffer.
    fn upload(&mut self, gpu: &dyn Gpu) -> Result<bool, ModelError> {
        let has_moved = self.words.len() > self.device.len();
        if has_moved {
            // The old one is freed when what still reads it is done.
            self.device = Buffer::zeros(gpu, self.words.len().next_power_of_two())?;
        }
        let first_items = self.places.items.first().copied().unwrap_or(self.places.block_tables);
        let lists = self.launches.iter().map(|lists| lists[0].count..lists[0].items.end);
        let tables = self.places.block_tables..self.words.len();
        for part in std::iter::once(0..first_items).chain(lists).chain([tables]) {
            self.device.write(gpu, part.start, &self.words[part])?;
        }
        Ok(has_moved)
    }

    /// Rows of the step.
    pub(super) fn num_rows(&self) -> usize {
        self.rows
    }

    fn view(&self, place: usize, len: usize) -> View<'_, u32> {
        self.device.view().slice(place..place + len)
    }

    /// The token of each row.
    pub(super) fn tokens(&self) -> Indices<'_> {
        let view = self.view(self.places.tokens, self.rows);
        // SAFETY: the batch was checked: tokens are below the vocabulary; so is what fills it up.
        unsafe { Indices::new(view, self.shape.vocab_size) }
    }

    /// The same, to put some there.
    pub(super) fn tokens_mut(&mut self) -> ViewMut<'_, u32> {
        let place = self.places.tokens;
        self.device.view_mut().slice(place..place + self.rows)
    }

    /// Runs of the rows of sequences with very many, in order.
    pub(super) fn long(&self) -> &[Range<usize>] {
        &self.long
    }

    /// The rows with logits.
    pub(super) fn outputs(&self) -> Option<Indices<'_>> {
        self.rows_at(self.places.outputs, self.num_outputs)
    }

    /// The rows whose final hidden states are wanted.
    pub(super) fn hidden(&self) -> Option<Indices<'_>> {
        self.rows_at(self.places.hidden, self.num_hidden)
    }

    fn rows_at(&self, place: usize, len: usize) -> Option<Indices<'_>> {
        let view = self.view(place, len);
        // SAFETY: the batch was checked: these are rows of it; so is what fills it up.
        (len > 0).then(|| unsafe { Indices::new(view, self.rows) })
    }

    /// Where the rows stand.
    pub(super) fn rows(&self) -> StepRows<'_> {
        let Places { positions, slots, table_starts, block_tables, .. } = self.places;
        let views = [positions, slots, table_starts].map(|place| self.view(place, self.rows));
        let [positions, slots, table_starts] = views;
        let block_tables = self.view(block_tables, self.num_tables);
        let DecoderShape { num_blocks, max_context, .. } = self.shape;
        // SAFETY: the batch was checked: positions are below the context, slots are those of the
        // tables' blocks, tables have a block below `num_blocks` for each 16 positions. Rows that
        // fill it up have no slot and no items.
        unsafe {
            StepRows::new([positions, slots, table_starts, block_tables], num_blocks, max_context)
        }
    }

    /// The rows that go to attention together.
    pub(super) fn prefill(&self) -> Option<PrefillTiles<'_>> {
        let view = self.view(self.tiles.start, self.tiles.len());
        // SAFETY: listed from this batch's sequences, whose rows are at positions one after the
        // other, as was checked.
        (!self.tiles.is_empty()).then(|| unsafe { PrefillTiles::new(view) })
    }

    /// The launches of attention of the other rows with this kind of window.
    pub(super) fn attention(&self, window: usize) -> impl Iterator<Item = AttentionItems<'_>> {
        self.launches[window].iter().filter(|list| !list.items.is_empty()).map(|list| {
            let items = self.view(list.items.start, list.items.len());
            let count = self.view(list.count, 1);
            // SAFETY: listed from this batch's positions, each row once. A recorded launch reads
            // the number and the items of the step that it is then part of.
            unsafe { AttentionItems::new(items, count) }
        })
    }
}

fn rows_of(sequence: &BatchSequence) -> Range<usize> {
    sequence.rows.start as usize..sequence.rows.end as usize
}

fn is_prefill(sequence: &BatchSequence) -> bool {
    sequence.rows.len() >= PREFILL_ROWS
}
