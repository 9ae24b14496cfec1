//! Where a stopped process keeps its system call: the part of the stepper that is different on each machine.

use super::stepper::Call;

/// Whether this machine is known.
pub const KNOWN: bool = cfg!(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")));

#[cfg(target_arch = "x86_64")]
mod machine {
    use super::Call;

    fn get(pid: i32) -> libc::user_regs_struct {
        // SAFETY: a stopped child of ours; the structure is plain numbers.
        unsafe {
            let mut regs: libc::user_regs_struct = std::mem::zeroed();
            let got = libc::ptrace(libc::PTRACE_GETREGS, pid, 0, &raw mut regs);
            assert_eq!(got, 0, "PTRACE_GETREGS: {}", std::io::Error::last_os_error());
            regs
        }
    }

    fn set(pid: i32, regs: &libc::user_regs_struct) {
        // SAFETY: as above.
        let set = unsafe { libc::ptrace(libc::PTRACE_SETREGS, pid, 0, std::ptr::from_ref(regs)) };
        assert_eq!(set, 0, "PTRACE_SETREGS: {}", std::io::Error::last_os_error());
    }

    pub fn call(pid: i32) -> Call {
        let r = get(pid);
        Call { number: r.orig_rax as i64, args: [r.rdi, r.rsi, r.rdx, r.r10, r.r8, r.r9] }
    }

    pub fn skip(pid: i32) {
        let mut regs = get(pid);
        regs.orig_rax = u64::MAX;
        set(pid, &regs);
    }

    pub fn answer(pid: i32, value: i64) {
        let mut regs = get(pid);
        regs.rax = value as u64;
        set(pid, &regs);
    }
}

#[cfg(target_arch = "aarch64")]
mod machine {
    use super::Call;

    const NT_PRSTATUS: i32 = 1;
    const NT_ARM_SYSTEM_CALL: i32 = 0x404;
    /// 31 general registers, stack pointer, program counter, status.
    type Regs = [u64; 34];

    fn transfer<T>(request: libc::c_uint, pid: i32, set: i32, value: &mut T) {
        let mut vector = libc::iovec { iov_base: std::ptr::from_mut(value).cast(), iov_len: size_of::<T>() };
        // SAFETY: a stopped child of ours; the vector describes `value`.
        let done = unsafe { libc::ptrace(request, pid, set, &raw mut vector) };
        assert_eq!(done, 0, "ptrace: {}", std::io::Error::last_os_error());
    }

    fn get(pid: i32) -> Regs {
        let mut regs: Regs = [0; 34];
        transfer(libc::PTRACE_GETREGSET, pid, NT_PRSTATUS, &mut regs);
        regs
    }

    pub fn call(pid: i32) -> Call {
        let r = get(pid);
        Call { number: r[8] as i64, args: [r[0], r[1], r[2], r[3], r[4], r[5]] }
    }

    pub fn skip(pid: i32) {
        transfer(libc::PTRACE_SETREGSET, pid, NT_ARM_SYSTEM_CALL, &mut -1i32);
    }

    pub fn answer(pid: i32, value: i64) {
        let mut regs = get(pid);
        regs[0] = value as u64;
        transfer(libc::PTRACE_SETREGSET, pid, NT_PRSTATUS, &mut regs);
    }
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
mod machine {
    use super::Call;

    pub fn call(_: i32) -> Call {
        unreachable!("nothing is stepped here")
    }
    pub fn skip(_: i32) {}
    pub fn answer(_: i32, _: i64) {}
}

pub use machine::{answer, call, skip};
