//! Operation codes. A number that is not here is answered ENOSYS, which tells the kernel not to ask again.

macro_rules! opcodes {
    ($($name:ident = $number:literal $text:literal),* $(,)?) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u32)]
        pub enum Opcode { $($name = $number),* }

        impl Opcode {
            pub const ALL: &'static [Opcode] = &[$(Opcode::$name),*];
            pub fn from_number(number: u32) -> Option<Opcode> {
                match number { $($number => Some(Opcode::$name),)* _ => None }
            }
            /// For metrics and logs.
            pub fn name(self) -> &'static str {
                match self { $(Opcode::$name => $text),* }
            }
        }
    };
}

opcodes! {
    Lookup = 1 "lookup", Forget = 2 "forget", GetAttributes = 3 "getattr", SetAttributes = 4 "setattr",
    ReadLink = 5 "readlink", Symlink = 6 "symlink", MakeNode = 8 "mknod", MakeDirectory = 9 "mkdir",
    Unlink = 10 "unlink", RemoveDirectory = 11 "rmdir", Rename = 12 "rename", Link = 13 "link", Open = 14 "open",
    Read = 15 "read", Write = 16 "write", StatFileSystem = 17 "statfs", Release = 18 "release", Sync = 20 "fsync",
    SetXattr = 21 "setxattr", GetXattr = 22 "getxattr", ListXattr = 23 "listxattr", RemoveXattr = 24 "removexattr",
    Flush = 25 "flush", Init = 26 "init", OpenDirectory = 27 "opendir", ReadDirectory = 28 "readdir",
    ReleaseDirectory = 29 "releasedir", SyncDirectory = 30 "fsyncdir", GetLock = 31 "getlk", SetLock = 32 "setlk",
    SetLockWait = 33 "setlkw", Access = 34 "access", Create = 35 "create", Interrupt = 36 "interrupt",
    Destroy = 38 "destroy", Ioctl = 39 "ioctl", BatchForget = 42 "batch_forget", Fallocate = 43 "fallocate",
    ReadDirectoryPlus = 44 "readdirplus", Rename2 = 45 "rename2", Seek = 46 "lseek", CopyRange = 47 "copy_file_range",
    SyncFileSystem = 50 "syncfs",
}
