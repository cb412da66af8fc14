//! What a step tells the GPU: one packed array of numbers, copied once before the step's launches.
//! Promises: every number is within the bounds that the launches are told, since the batch that it
//! comes from has passed `ForwardBatch::check`.
//! Never knows: layers, weights.

use std::ops::Range;

use kernels::cuda::{AttentionItems, Buffer, Gpu, ITEM_WORDS, Indices, StepRows, list_items};

use crate::model::batch::{BLOCK_SIZE, ForwardBatch};
use crate::model::decoder::DecoderShape;
use crate::model::error::ModelError;

/// The numbers of the present step, on the host and on the GPU.
#[derive(Debug)]
pub(super) struct StepInputs {
    shape: DecoderShape,
    max_items: usize,
    words: Vec<u32>,
    device: Buffer<u32>,
    tokens: Range<usize>,
    positions: Range<usize>,
    slots: Range<usize>,
    table_starts: Range<usize>,
    block_tables: Range<usize>,
    outputs: Range<usize>,
    hidden: Range<usize>,
    /// For each kind of window, one after the other: the launches that attention takes.
    launches: Vec<Vec<ItemList>>,
    items: Vec<u32>,
}

/// The items of one launch.
#[derive(Debug)]
struct ItemList {
    /// Place of the number of items; the items follow.
    count: usize,
    items: Range<usize>,
}

impl StepInputs {
    /// For batches of this shape; attention has room for the parts of `max_items` items.
    pub(super) fn new(
        gpu: &dyn Gpu,
        shape: DecoderShape,
        max_items: usize,
    ) -> Result<Self, ModelError> {
        Ok(Self {
            shape,
            max_items,
            words: Vec::new(),
            device: Buffer::zeros(gpu, 1 << 16)?,
            tokens: 0..0,
            positions: 0..0,
            slots: 0..0,
            table_starts: 0..0,
            block_tables: 0..0,
            outputs: 0..0,
            hidden: 0..0,
            launches: Vec::new(),
            items: Vec::new(),
        })
    }

    /// Takes a batch over. `windows` are the kinds of attention that the model's layers have.
    pub(super) fn set(
        &mut self,
        gpu: &dyn Gpu,
        batch: &ForwardBatch,
        windows: &[Option<usize>],
    ) -> Result<(), ModelError> {
        // Checked here too, against this executor's own bounds: kernels rely on them.
        batch.check(&self.shape)?;
        self.words.clear();
        self.tokens = self.push(&batch.tokens);
        self.positions = self.push(&batch.positions);
        self.slots = self.push(&batch.slots);
        let start = self.words.len();
        for sequence in &batch.sequences {
            self.words.extend(sequence.rows.clone().map(|_| sequence.blocks.start));
        }
        self.table_starts = start..self.words.len();
        self.block_tables = self.push(&batch.block_tables);
        self.outputs = self.push(&batch.outputs);
        self.hidden = self.push(&batch.hidden);
        self.launches.clear();
        for window in windows {
            let lists = self.list_attention(batch, *window);
            self.launches.push(lists);
        }
        if self.words.len() > self.device.len() {
            // More block tables than ever before. The old buffer is freed when what reads it is done.
            self.device = Buffer::zeros(gpu, self.words.len().next_power_of_two())?;
        }
        self.device.write(gpu, 0, &self.words)?;
        Ok(())
    }

    fn push(&mut self, numbers: &[u32]) -> Range<usize> {
        let start = self.words.len();
        self.words.extend_from_slice(numbers);
        start..self.words.len()
    }

    /// Items of all rows, in launches that have room for their parts.
    fn list_attention(&mut self, batch: &ForwardBatch, window: Option<usize>) -> Vec<ItemList> {
        let (mut lists, mut items) = (Vec::new(), std::mem::take(&mut self.items));
        items.clear();
        let mut row_items = Vec::new();
        for (row, position) in batch.positions.iter().enumerate() {
            row_items.clear();
            list_items(row, *position as usize, window, &mut row_items);
            if items.len() + row_items.len() > self.max_items * ITEM_WORDS {
                lists.push(self.push_items(&items));
                items.clear();
            }
            items.extend_from_slice(&row_items);
        }
        lists.push(self.push_items(&items));
        self.items = items;
        lists
    }

    fn push_items(&mut self, items: &[u32]) -> ItemList {
        let count = self.words.len();
        self.words.push((items.len() / ITEM_WORDS) as u32);
        // Items are read as 16 bytes at a time may be: at whole multiples.
        self.words.resize(self.words.len().next_multiple_of(ITEM_WORDS), 0);
        ItemList { count, items: self.push(items) }
    }

    /// Rows of the step.
    pub(super) fn num_rows(&self) -> usize {
        self.tokens.len()
    }

    /// The token of each row.
    pub(super) fn tokens(&self) -> Indices<'_> {
        // SAFETY: the batch was checked: tokens are below the vocabulary.
        unsafe {
            Indices::new(self.device.view().slice(self.tokens.clone()), self.shape.vocab_size)
        }
    }

    /// The rows with logits.
    pub(super) fn outputs(&self) -> Option<Indices<'_>> {
        self.rows_of(&self.outputs)
    }

    /// The rows whose final hidden states are wanted.
    pub(super) fn hidden(&self) -> Option<Indices<'_>> {
        self.rows_of(&self.hidden)
    }

    fn rows_of(&self, range: &Range<usize>) -> Option<Indices<'_>> {
        let view = self.device.view().slice(range.clone());
        // SAFETY: the batch was checked: these are rows of it.
        (!range.is_empty()).then(|| unsafe { Indices::new(view, self.num_rows()) })
    }

    /// Where the rows stand.
    pub(super) fn rows(&self) -> StepRows<'_> {
        let places = [&self.positions, &self.slots, &self.table_starts, &self.block_tables];
        let views = places.map(|range| self.device.view().slice(range.clone()));
        let DecoderShape { num_blocks, max_context, .. } = self.shape;
        // SAFETY: the batch was checked: positions are below the context, slots are those of the
        // tables' blocks, tables have a block below `num_blocks` for each 16 positions.
        unsafe { StepRows::new(views, num_blocks, max_context) }
    }

    /// The launches of attention with this kind of window.
    pub(super) fn attention(&self, window: usize) -> impl Iterator<Item = AttentionItems<'_>> {
        self.launches[window].iter().map(|list| {
            let items = self.device.view().slice(list.items.clone());
            let count = self.device.view().slice(list.count..list.count + 1);
            // SAFETY: listed from this batch's positions, each row once.
            unsafe { AttentionItems::new(items, count) }
        })
    }
}

const _: () = assert!(BLOCK_SIZE == 16, "blocks of the engine are blocks of kernels");
