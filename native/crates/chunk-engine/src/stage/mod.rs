//! Staging: an update becomes the newest pending version of its chunk. Bytes go to their place first (new
//! blocks, or behind the chunk's end), then the journal record that makes them count; small overwrites are in
//! the record itself (P12). Nothing that another version needs is overwritten here.

mod group;
mod plan;
mod request;

pub use request::{ChannelUpdate, StageRequest, Staged, Update};

use crate::BLOCK_BYTES;
use crate::channels::Channel;
use crate::chunk::{Entry, Image, Placed, Plane};
use crate::engine::{Core, Engine};
use crate::index::Index;
use crate::layout::{Layout, Presence};
use crate::museum::{Planted, planted};
use crate::segments::{ExtentAddress, class_of};
use group::Group;
use plan::{Payload, Place, Plan};
use std::io::IoSlice;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use wire::message::{BlockRun, BlockRunKind, ChannelRecord, JournalRecord, JournalStage, StoredPlane};
use wire::{ChunkId, Code, Error, Result};

/// Planes of one chunk beyond which its fresh blocks are scattered, and a flush is made to get retired ones
/// back, before another extent is taken: bounds the address space that one hot chunk may hold.
const PLANES_WANTED: usize = 4;

/// The newest version of a chunk, as the next update finds it.
pub(crate) struct Tip {
    pub chunk: ChunkId,
    pub layout: Arc<Layout>,
    /// Bytes of the chunk below this may be wanted by another version.
    pub protected_length: u32,
    /// Old blocks that are damaged stay so under the new version, instead of stopping it.
    pub keeps_damage: bool,
    /// Its bytes may have blocks of the reserve.
    pub from_reserve: bool,
}

impl Tip {
    /// Whether there is no chunk after this update.
    fn leaves_absent(&self, update: &Update<'_>) -> bool {
        match update {
            Update::Remove => true,
            Update::Punch { .. } | Update::Truncate { .. } => self.layout.presence != Presence::Present,
            Update::Write { .. } | Update::Replace { .. } => false,
        }
    }
}

/// Where each run of fresh blocks went.
struct Placement {
    placed: Vec<Placed>,
}

impl Engine {
    /// Holds an update as the newest pending version of its chunk. When it returns, it survives the death of
    /// the process.
    pub fn stage(&self, request: &StageRequest<'_>) -> Result<Staged> {
        self.stage_with(request, None, true)
    }

    /// As `stage`, for what may be refused on a full disk: `NoSpace` while its bytes would need the reserve (P8). The
    /// record behind them, some KiB, is written like every other. `damaged`: as in `stage_damaged`, if there is any.
    pub fn stage_unreserved(&self, request: &StageRequest<'_>, damaged: Option<&[u32]>) -> Result<Staged> {
        self.stage_with(request, damaged, false)
    }

    pub(crate) fn stage_with(
        &self,
        request: &StageRequest<'_>,
        damaged: Option<&[u32]>,
        from_reserve: bool,
    ) -> Result<Staged> {
        let core = &*self.core;
        core.check()?;
        core.throttle()?;
        let _lock = core.index.lock_chunk(request.chunk);
        let tip = Tip { keeps_damage: damaged.is_some(), from_reserve, ..core.tip(request.chunk)? };
        let result = core.stage(request, &tip, damaged.unwrap_or_default());
        core.end_change(request.chunk);
        if result.is_err() {
            core.forget_if_absent(request.chunk);
        }
        if planted(Planted::FreedBeforeFlush) {
            core.release_retired()?;
        }
        result
    }
}

impl Core {
    fn stage(&self, request: &StageRequest<'_>, tip: &Tip, damaged: &[u32]) -> Result<Staged> {
        self.check_request(request, tip)?;
        let payload = Payload::new(match request.update {
            Update::Write { data, .. } | Update::Replace { data } => data,
            Update::Truncate { .. } | Update::Punch { .. } | Update::Remove => &[],
        });
        let mut plan = Plan::new(self, request, tip, &payload)?;
        plan.mark_damaged(damaged);
        if request.crc.is_some_and(|crc| crc != plan.payload_crc) {
            return Err(Error::new(
                Code::Corrupt,
                format!("the payload for {:?} arrived damaged", request.chunk),
            ));
        }
        let images = plan.images(&payload);
        let placement = self.place(request.chunk, class_of(request.chunk_size), &plan)?;
        let written = self.write_plan(tip, &plan, &placement, &payload);
        let staged = written.and_then(|()| self.record(request, tip, &plan, &placement, &images));
        if staged.is_err() {
            self.take_back(request.chunk, &placement);
        }
        staged
    }

    /// The chunk's newest version; an unknown chunk gets an empty entry. It stays in memory until `end_change`.
    fn tip(&self, chunk: ChunkId) -> Result<Tip> {
        loop {
            {
                let mut shard = self.index.shard(chunk);
                let entry = shard.entries.entry(chunk).or_insert_with(Entry::absent);
                if entry.presence == Presence::Absent && entry.active.is_none() && entry.last_record == 0 {
                    entry.active = Some(Box::new(crate::chunk::Active::new(Layout::absent())));
                }
                if let Some(active) = &mut entry.active {
                    active.changing = true;
                    let (layout, protected_length) = (active.tip().clone(), active.protected_length);
                    return Ok(Tip {
                        chunk,
                        layout,
                        protected_length,
                        keeps_damage: false,
                        from_reserve: true,
                    });
                }
            }
            self.activate(chunk)?;
        }
    }

    /// The update of a chunk that had to stay in memory for it is over.
    pub fn end_change(&self, chunk: ChunkId) {
        let mut shard = self.index.shard(chunk);
        shard.active(chunk).expect("a chunk that is changed is active").changing = false;
        self.index.settle(&mut shard, chunk);
    }

    fn forget_if_absent(&self, chunk: ChunkId) {
        let mut shard = self.index.shard(chunk);
        if shard.entries.get(&chunk).is_some_and(|entry| {
            let idle = entry.active.as_ref().is_none_or(|active| active.is_settled());
            entry.presence == Presence::Absent && entry.last_record == 0 && idle
        }) {
            shard.forget(chunk);
        }
    }

    fn check_request(&self, request: &StageRequest<'_>, tip: &Tip) -> Result<()> {
        let refuse =
            |text: String| Err(Error::new(Code::InvalidArgument, format!("{:?}: {text}", request.chunk)));
        let sizes = wire::limits::CHUNK_BYTES_MIN..=wire::limits::CHUNK_BYTES_MAX;
        let size = request.chunk_size;
        if !sizes.contains(&(size as usize)) || !(size as usize).is_multiple_of(BLOCK_BYTES) {
            return refuse(format!("a chunk cannot have {size} bytes"));
        }
        let whole = matches!(request.update, Update::Replace { .. } | Update::Remove);
        if tip.layout.presence == Presence::Present && tip.layout.chunk_size != size && !whole {
            return refuse(format!("the chunk has {} bytes, the update says {size}", tip.layout.chunk_size));
        }
        let length = match request.update {
            Update::Write { offset, data } => u64::from(offset) + Payload::new(data).len() as u64,
            Update::Truncate { length } => u64::from(length),
            Update::Punch { offset, length } => u64::from(offset) + u64::from(length),
            Update::Remove => 0,
            Update::Replace { data } => Payload::new(data).len() as u64,
        };
        if matches!(request.update, Update::Write { data, .. } if Payload::new(data).len() == 0) {
            return refuse("a write of no bytes".to_string());
        }
        if length > u64::from(size) {
            return refuse(format!("{length} bytes do not fit into a chunk of {size}"));
        }
        if request.channel.is_some_and(|channel| channel.tag.channel >= wire::limits::CHANNELS_MAX) {
            return refuse("the channel's number is too high".to_string());
        }
        // A tombstone may have been dropped since the caller looked.
        let forgotten =
            || tip.layout.presence == Presence::Absent && request.base <= Some(*self.forgotten.lock());
        match request.base {
            Some(base) if base != tip.layout.version && !forgotten() => Err(Error::new(
                Code::MissingVersion,
                format!("{:?} has {:?}, the update follows {base:?}", request.chunk, tip.layout.version),
            )),
            Some(base) if request.version <= base => {
                refuse(format!("{:?} does not follow {base:?}", request.version))
            }
            None if !Arc::ptr_eq(&tip.layout, &self.committed(request.chunk)) => {
                refuse("pending versions must be discarded before a replacement".to_string())
            }
            _ => Ok(()),
        }
    }

    fn committed(&self, chunk: ChunkId) -> Arc<Layout> {
        self.index.shard(chunk).active(chunk).expect("a chunk that is changed is active").committed.clone()
    }

    /// Finds room for the fresh blocks of a plan.
    fn place(&self, chunk: ChunkId, class: u8, plan: &Plan) -> Result<Placement> {
        let mut placement = Placement { placed: Vec::new() };
        for (first, count) in plan.fresh_runs() {
            if let Err(error) = self.place_run(chunk, class, first, count, &mut placement) {
                self.take_back(chunk, &placement);
                return Err(error);
            }
        }
        Ok(placement)
    }

    fn place_run(
        &self,
        chunk: ChunkId,
        class: u8,
        first: u32,
        count: u32,
        into: &mut Placement,
    ) -> Result<()> {
        let mut flushed = false;
        loop {
            let planes = {
                let mut shard = self.index.shard(chunk);
                let active = shard.active(chunk).expect("a chunk that is changed is active");
                if let Some(placed) = active.place(class, first, count, PLANES_WANTED) {
                    self.used_blocks.fetch_add(u64::from(count), Ordering::Relaxed);
                    into.placed.extend(placed);
                    return Ok(());
                }
                active.planes.iter().flatten().count()
            };
            if planes >= PLANES_WANTED && !flushed {
                // What versions gave up since the last flush comes back with this one.
                flushed = true;
                self.flush()?;
                continue;
            }
            let (address, file) = self.segments.allocate(class, Index::lane_seed(chunk))?;
            let mut shard = self.index.shard(chunk);
            let active = shard.active(chunk).expect("a chunk that is changed is active");
            if active.add_plane(Plane::new(address, file)).is_err() {
                self.segments.free(address);
                return Err(Error::new(Code::Overloaded, format!("{chunk:?} has too many pending versions")));
            }
        }
    }

    /// An update that was not recorded gives its room back at once: nothing on the disk names it.
    fn take_back(&self, chunk: ChunkId, placement: &Placement) {
        if planted(Planted::FailedWriteLeaks) {
            return;
        }
        for placed in &placement.placed {
            let (file, offset) = {
                let mut shard = self.index.shard(chunk);
                let active = shard.active(chunk).expect("a chunk that is changed is active");
                let plane = active.planes[placed.plane as usize].as_ref().expect("a placed plane is there");
                (plane.file.clone(), plane.file.offset(plane.address.extent, placed.first))
            };
            // Part of it may be written. After a failure it stays until the target is opened anew.
            let length = u64::from(placed.count) * BLOCK_BYTES as u64;
            let punched = match planted(Planted::FailedWriteKeepsBytes) {
                true => Ok(()),
                false => self.volume.check().and_then(|()| self.segments.punch(&file, offset, length)),
            };
            if let Err(error) = punched {
                log::debug!(target: "chunk_engine", error = error.to_string().as_str(); "room_not_given_back");
            }
            let mut shard = self.index.shard(chunk);
            let active = shard.active(chunk).expect("a chunk that is changed is active");
            self.used_blocks.fetch_sub(u64::from(placed.count), Ordering::Relaxed);
            if let Some(extent) = active.give_back(*placed) {
                self.segments.free(extent);
            }
        }
    }

    /// Writes what goes to the disk now: neighbours on the disk in one call.
    fn write_plan(&self, tip: &Tip, plan: &Plan, placement: &Placement, payload: &Payload<'_>) -> Result<()> {
        let chunk = tip.chunk;
        let mut group: Option<Group<'_>> = None;
        for (position, block) in plan.blocks.iter().enumerate() {
            let plane = match block.place {
                Place::Fresh => plane_of(placement, block.block),
                Place::Behind(plane) => plane,
                Place::Overlay | Place::Hole | Place::Keep => continue,
            };
            // Within one plane the place follows from the block.
            let next =
                group.as_ref().filter(|group| group.plane == plane).map(|group| group.place_of(block.block));
            if next
                .is_none_or(|next| group.as_ref().is_none_or(|group| group.end != next + block.skip as u64))
            {
                let mut shard = self.index.shard(chunk);
                let active = shard.active(chunk).expect("a chunk that is changed is active");
                let held = active.planes[plane as usize].as_ref().expect("a placed plane is there");
                let start = held.file.offset(held.address.extent, block.block);
                let file = held.file.clone();
                drop(shard);
                if let Some(done) =
                    group.replace(Group::new(plane, file, block.block, start, block.skip as u64))
                {
                    done.write(self, payload, tip.from_reserve)?;
                }
            }
            group.as_mut().expect("a group was begun").push(&plan.blocks[position].content);
        }
        group.map_or(Ok(()), |group| group.write(self, payload, tip.from_reserve))
    }

    /// Appends the journal record, then shows the version.
    fn record(
        &self,
        request: &StageRequest<'_>,
        tip: &Tip,
        plan: &Plan,
        placement: &Placement,
        images: &[(u32, Arc<[u8]>)],
    ) -> Result<Staged> {
        let mut stage = JournalStage {
            chunk: Some(request.chunk.into()),
            version: Some(request.version.into()),
            base: Some(tip.layout.version.into()),
            chunk_size: request.chunk_size,
            length: plan.length,
            removed: tip.leaves_absent(&request.update),
            fresh: matches!(request.update, Update::Replace { .. }),
            commit: request.commit,
            runs: runs(plan, placement),
            planes: Vec::new(),
            channel: None,
        };
        stage.planes = self.planes_of(request.chunk, &stage.runs);
        let mut layout = tip.layout.next(&stage, 0)?;
        layout.tag = request.channel.map(|channel| channel.tag);
        let blocks = i64::from(layout.stored_blocks()) - i64::from(tip.layout.stored_blocks());
        let staged = Staged {
            chunk_length: plan.length,
            allocated_delta: blocks * BLOCK_BYTES as i64,
            crc: plan.payload_crc,
        };
        let channel = request.channel.map(|channel| Channel {
            tag: channel.tag,
            chunk: request.chunk,
            version: request.version,
            chunk_length: staged.chunk_length,
            allocated_delta: staged.allocated_delta,
            request_crc: channel.request_crc,
        });
        let recorded = channel.as_ref().filter(|_| !planted(Planted::TagNotRecorded));
        stage.channel = recorded.map(ChannelRecord::from);
        let data: Vec<IoSlice<'_>> = images.iter().map(|(_, image)| IoSlice::new(image)).collect();
        let message = JournalRecord { stage: Some(stage), ..JournalRecord::default() };
        let (record, _showing) = self.journal.append(&message, &data)?;
        layout.record = record;
        self.show(request, layout, record, images);
        if let Some(channel) = channel {
            self.channels.set(record, channel);
        }
        Ok(staged)
    }

    /// The extents that the record's blocks were written to. Always all of them: the catalogue lists only
    /// planes that a version uses, and a plane may be used again after a checkpoint saw it unused.
    fn planes_of(&self, chunk: ChunkId, runs: &[BlockRun]) -> Vec<StoredPlane> {
        let mut shard = self.index.shard(chunk);
        let active = shard.active(chunk).expect("a chunk that is changed is active");
        let mut planes: Vec<StoredPlane> = Vec::new();
        for run in runs.iter().filter(|run| run.kind() == BlockRunKind::RunDirect) {
            if planes.iter().all(|known| known.plane != run.plane) {
                let plane = active.planes[run.plane as usize].as_ref().expect("a placed plane is there");
                let ExtentAddress { segment, extent } = plane.address;
                planes.push(StoredPlane { plane: run.plane, segment, extent });
            }
        }
        planes
    }

    fn show(&self, request: &StageRequest<'_>, layout: Layout, record: u64, images: &[(u32, Arc<[u8]>)]) {
        let mut shard = self.index.shard(request.chunk);
        let entry = shard.entries.get_mut(&request.chunk).expect("a chunk that is changed is there");
        // A commit of an older version may have got the next number meanwhile.
        entry.last_record = entry.last_record.max(record);
        let active = entry.active.as_mut().expect("a chunk that is changed is active");
        active.protected_length = active.protected_length.max(layout.length);
        active.pending.push_back(Arc::new(layout));
        for (block, data) in images {
            active.images.insert((*block, record), Image { committed: 0, data: data.clone() });
        }
        self.index.mark_dirty(&mut shard, request.chunk);
        if request.commit {
            self.commit_up_to(&mut shard, request.chunk, request.version, record);
        }
    }
}

fn plane_of(placement: &Placement, block: u32) -> u8 {
    let holds = |placed: &&Placed| (placed.first..placed.first + placed.count).contains(&block);
    placement.placed.iter().find(holds).expect("every fresh block was placed").plane
}

/// The plan's blocks as the journal says them: neighbours of one kind and plane together.
fn runs(plan: &Plan, placement: &Placement) -> Vec<BlockRun> {
    let mut runs: Vec<BlockRun> = Vec::new();
    for block in &plan.blocks {
        let (kind, plane) = match block.place {
            Place::Fresh => (BlockRunKind::RunDirect, plane_of(placement, block.block)),
            Place::Behind(plane) => (BlockRunKind::RunDirect, plane),
            Place::Overlay => (BlockRunKind::RunOverlay, 0),
            Place::Hole => (BlockRunKind::RunHole, 0),
            Place::Keep => (BlockRunKind::RunKeep, 0),
        };
        let plane = u32::from(plane);
        match runs.last_mut() {
            Some(run) if run.kind() == kind && run.plane == plane && run.first + run.count == block.block => {
                run.count += 1;
            }
            _ => runs.push(BlockRun {
                first: block.block,
                count: 1,
                kind: kind as i32,
                plane,
                crcs: Vec::new(),
            }),
        }
        if kind != BlockRunKind::RunHole {
            runs.last_mut().expect("a run was begun").crcs.push(block.crc);
        }
    }
    runs
}
