use super::Catalog;
use crate::disk::{Disk, MemoryDisk};
use crate::volume::Volume;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use wire::ChunkId;
use wire::message::{StoredBlocks, StoredChunk};

const COMMITS: u32 = 300;

#[test]
fn both_records_of_a_chunk_are_read_as_one_commit_left_them() {
    let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new(64 << 20));
    let catalog = Catalog::open(Arc::new(Volume::new(disk)), 1 << 20).unwrap();
    let (chunk, done) = (ChunkId { inode: 1, index: 2 }, AtomicBool::new(false));
    let commit = |number: u32| {
        let head = StoredChunk { length: number, ..Default::default() };
        let blocks = StoredBlocks { record: u64::from(number), ..Default::default() };
        catalog.write(|tables| tables.put_chunk(chunk, &head, &blocks)).unwrap();
    };
    commit(0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            (1..COMMITS).for_each(commit);
            done.store(true, Ordering::SeqCst);
        });
        while !done.load(Ordering::SeqCst) {
            let (head, blocks) = catalog.chunk(chunk).unwrap().unwrap();
            assert_eq!(u64::from(head.length), blocks.record);
        }
    });
}
