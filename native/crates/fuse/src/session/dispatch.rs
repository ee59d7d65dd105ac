//! From a decoded request to the file system's method.

use super::interrupts::Interrupts;
use super::pending::{Pending, Table};
use super::reply::{Reply, Request};
use crate::file_system::FileSystem;
use crate::protocol::{Answer, DirectoryList, Opcode, Operation, abi, decode, write_arguments};
use bytes::Bytes;
use rustix::io::Errno;
use std::sync::Arc;
use wire::{Buffer, BufferPool};

use super::channel::Channel;

/// Payloads up to here are copied out of the 1 MiB buffer that they arrived in: small writes in the air must
/// not pin it.
const COPIED_BYTES_MAX: usize = 64 << 10;

const HEADER_BYTES: usize = size_of::<abi::InHeader>();

/// A request as it came: its bytes, and the channel that its answer goes to.
pub struct Packet {
    pub header: abi::InHeader,
    pub buffer: Buffer,
    pub channel: Arc<dyn Channel>,
    /// Registered already: it waited for a worker.
    pub pending: Option<Arc<Pending>>,
}

impl Packet {
    fn body(&self) -> &[u8] {
        // Extensions after the body are of features that were not negotiated.
        let extensions = usize::from(self.header.total_extension_units) * 8;
        let end = (self.header.len as usize).saturating_sub(extensions).max(HEADER_BYTES);
        &self.buffer[HEADER_BYTES..end]
    }

    /// INTERRUPT, FORGET and BATCH_FORGET: short, never answered, and needed most when everything else is
    /// stuck.
    pub fn is_urgent(&self) -> bool {
        let opcode = Opcode::from_number(self.header.opcode);
        matches!(opcode, Some(Opcode::Interrupt | Opcode::Forget | Opcode::BatchForget))
    }

    /// What its method holds the thread for.
    pub fn waits_for(&self) -> WaitsFor {
        use Opcode::{Create, Fallocate, Flush, Open, Read, Release, SetAttributes, Sync, Write};
        match Opcode::from_number(self.header.opcode) {
            None | Some(Read | Open | Create | Release) => WaitsFor::Nothing,
            Some(Write | Flush | Sync | SetAttributes | Fallocate) => WaitsFor::Chains,
            _ => WaitsFor::Names,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitsFor {
    /// It sends and returns, and is answered by whoever gets the answer.
    Nothing,
    /// The metadata service.
    Names,
    /// Chains: for room among the bytes that one has in flight, or for the inode's writes that are in the air. Each
    /// of them may stand still by itself.
    Chains,
}

pub struct Dispatcher {
    pub file_system: Arc<dyn FileSystem>,
    pub table: Arc<Table>,
    pub interrupts: Interrupts,
    pub pool: BufferPool,
}

impl Dispatcher {
    /// Makes a request ready to wait for a worker: it can be interrupted meanwhile, and keeps no buffer for
    /// the largest.
    pub fn postpone(&self, packet: Packet) -> Packet {
        let length = packet.header.len as usize;
        let mut buffer = self.pool.take(length);
        buffer.copy_from_slice(&packet.buffer[..length]);
        let pending = self.register(&packet.header, &packet.channel);
        pending.answer_interrupts();
        Packet { buffer, pending: Some(pending), ..packet }
    }

    fn register(&self, header: &abi::InHeader, channel: &Arc<dyn Channel>) -> Arc<Pending> {
        let (pending, interrupted) = self.table.register(header, channel);
        if interrupted {
            self.interrupts.arrived(pending.clone());
        }
        pending
    }

    /// Handles one request; gives the buffer back unless the request keeps it.
    pub fn dispatch(&self, packet: Packet) -> Option<Buffer> {
        let header = packet.header;
        if packet.is_urgent() {
            self.urgent(&packet);
            return Some(packet.buffer);
        }
        let waited = packet.pending.clone();
        if waited.as_ref().is_some_and(|pending| !pending.end_interrupt_answers()) {
            return None;
        }
        // What waited has a small buffer, which no later request fits into.
        let reusable = waited.is_none();
        let pending = waited.unwrap_or_else(|| self.register(&header, &packet.channel));
        let buffer = self.handle(packet, pending);
        if reusable { buffer } else { None }
    }

    fn handle(&self, packet: Packet, pending: Arc<Pending>) -> Option<Buffer> {
        let header = packet.header;
        let Some(opcode) = Opcode::from_number(header.opcode) else {
            pending.answer(Err(Errno::NOSYS));
            return Some(packet.buffer);
        };
        let request =
            Request { unique: header.unique, uid: header.uid, gid: header.gid, pid: header.pid, pending };
        if opcode == Opcode::Write {
            return self.write(&request, packet);
        }
        match decode(opcode, packet.body()) {
            Ok(operation) => self.call(&request, header.node, operation),
            Err(errno) => {
                log::warn!(target: "fuse", operation = opcode.name(), errno = errno.raw_os_error(),
                    bytes = header.len; "request.refused");
                request.pending.answer(Err(errno));
            }
        }
        Some(packet.buffer)
    }

    fn urgent(&self, packet: &Packet) {
        let header = &packet.header;
        let opcode = Opcode::from_number(header.opcode).expect("urgent opcodes are known");
        match decode(opcode, packet.body()) {
            Ok(Operation::Forget { lookups }) => self.file_system.forget(header.node, lookups),
            Ok(Operation::BatchForget { forgets }) => {
                for forget in forgets {
                    self.file_system.forget(forget.node, forget.lookups);
                }
            }
            Ok(Operation::Interrupt { unique }) => {
                if let Some(pending) = self.table.find_interrupted(unique) {
                    self.interrupts.arrived(pending);
                }
            }
            _ => log::warn!(target: "fuse", opcode = header.opcode, bytes = header.len; "request.refused"),
        }
    }

    /// WRITE's data stay in the buffer that the kernel copied them to.
    fn write(&self, request: &Request, packet: Packet) -> Option<Buffer> {
        let arguments = match write_arguments(packet.body()) {
            Ok(arguments) => arguments,
            Err(errno) => {
                request.pending.answer(Err(errno));
                return Some(packet.buffer);
            }
        };
        let start = HEADER_BYTES + size_of::<abi::WriteIn>();
        let size = arguments.size as usize;
        let (data, buffer) = if size <= COPIED_BYTES_MAX {
            let mut copy = self.pool.take(size);
            copy.copy_from_slice(&packet.buffer[start..start + size]);
            (copy.freeze(), Some(packet.buffer))
        } else {
            (packet.buffer.freeze().slice(start..start + size), None)
        };
        let kill_suid = arguments.write_flags & abi::WRITE_KILL_SUIDGID != 0;
        self.call_write(request, packet.header.node, &arguments, data, kill_suid);
        buffer
    }

    fn call_write(&self, request: &Request, node: u64, write: &abi::WriteIn, data: Bytes, kill_suid: bool) {
        let (handle, offset, flags) = (write.handle, write.offset, write.flags);
        self.file_system.write(
            request,
            node,
            handle,
            offset,
            data,
            flags,
            kill_suid,
            reply(&request.pending),
        );
    }

    fn call(&self, request: &Request, node: u64, operation: Operation<'_>) {
        let (fs, pending) = (&self.file_system, &request.pending);
        match operation {
            Operation::Lookup { name } => fs.lookup(request, node, name, reply(pending)),
            Operation::GetAttributes { handle } => fs.get_attributes(request, node, handle, reply(pending)),
            Operation::SetAttributes(set) => fs.set_attributes(request, node, set, reply(pending)),
            Operation::ReadLink => fs.read_link(request, node, reply(pending)),
            Operation::Symlink { name, target } => fs.symlink(request, node, name, target, reply(pending)),
            Operation::MakeNode { name, mode, device } => {
                fs.make_node(request, node, name, mode, device, reply(pending));
            }
            Operation::MakeDirectory { name, mode } => {
                fs.make_directory(request, node, name, mode, reply(pending))
            }
            Operation::Unlink { name } => fs.unlink(request, node, name, reply(pending)),
            Operation::RemoveDirectory { name } => fs.remove_directory(request, node, name, reply(pending)),
            Operation::Rename { name, new_parent, new_name, flags } => {
                fs.rename(request, node, name, new_parent, new_name, flags, reply(pending));
            }
            Operation::Link { node: source, name } => fs.link(request, source, node, name, reply(pending)),
            Operation::OpenDirectory { .. } => fs.open_directory(request, node, reply(pending)),
            Operation::ReadDirectory { handle, offset, size, plus } => {
                let list = DirectoryList::new(size, plus);
                fs.read_directory(request, node, handle, offset, list, plus, reply(pending));
            }
            Operation::ReleaseDirectory { handle } => {
                fs.release_directory(request, node, handle, reply(pending))
            }
            Operation::SyncDirectory { handle, .. } => {
                fs.sync_directory(request, node, handle, reply(pending))
            }
            Operation::StatFileSystem => fs.stat_file_system(request, reply(pending)),
            Operation::SyncFileSystem => fs.sync_file_system(request, reply(pending)),
            Operation::Access { mask } => fs.access(request, node, mask, reply(pending)),
            file => self.call_file(request, node, file),
        }
    }

    fn call_file(&self, request: &Request, node: u64, operation: Operation<'_>) {
        let (fs, pending) = (&self.file_system, &request.pending);
        match operation {
            Operation::Open { flags, kill_suid } => fs.open(request, node, flags, kill_suid, reply(pending)),
            Operation::Create { name, mode, flags, kill_suid } => {
                fs.create(request, node, name, mode, flags, kill_suid, reply(pending));
            }
            Operation::Read { handle, offset, size, flags } => {
                fs.read(request, node, handle, offset, size, flags, reply(pending));
            }
            Operation::Flush { handle, .. } => fs.flush(request, node, handle, reply(pending)),
            Operation::Release { handle, .. } => fs.release(request, node, handle, reply(pending)),
            Operation::Sync { handle, data_only } => {
                fs.sync(request, node, handle, data_only, reply(pending))
            }
            Operation::Fallocate { handle, offset, length, mode } => {
                fs.fallocate(request, node, handle, offset, length, mode, reply(pending));
            }
            Operation::Seek { handle, offset, whence } => {
                fs.seek(request, node, handle, offset, whence, reply(pending));
            }
            Operation::CopyRange(copy) => fs.copy_range(request, node, copy, reply(pending)),
            Operation::GetXattr { name, size } => fs.get_xattr(request, node, name, size, reply(pending)),
            Operation::SetXattr { name, value, flags } => {
                fs.set_xattr(request, node, name, value, flags, reply(pending));
            }
            Operation::ListXattr { size } => fs.list_xattr(request, node, size, reply(pending)),
            Operation::RemoveXattr { name } => fs.remove_xattr(request, node, name, reply(pending)),
            Operation::GetLock(lock) => fs.get_lock(request, node, lock, reply(pending)),
            Operation::SetLock(lock) => fs.set_lock(request, node, lock, reply(pending)),
            Operation::Ioctl { handle, command, argument, data, out_size } => {
                fs.ioctl(request, node, handle, command, argument, data, out_size, reply(pending));
            }
            // The kernel's good-bye; the end of the session follows by ENODEV.
            Operation::Destroy => drop(pending.answer(Ok(&[]))),
            _ => drop(pending.answer(Err(Errno::NOSYS))),
        }
    }
}

fn reply<T: Answer>(pending: &Arc<Pending>) -> Reply<T> {
    Reply::new(pending.clone())
}
