//! Capture of everything a container sends out: a socket-lookup program on its namespace.
//!
//! The kernel runs the program before it looks for a listening (TCP) or unconnected (UDP) socket,
//! so a server of the container on `0.0.0.0:8080` never sees a connection that was meant for
//! `93.184.216.34:8080`. A captured connection is handed to our listener, whose accepted socket
//! then has the original destination as its local address.
//!
//! Invariant: loopback, link-local and the container's own addresses are never captured.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};

use crate::sys::bpf::{self, Insn};

/// Sockets that captured traffic goes to. An absent one leaves its traffic uncaptured, which in
/// our namespaces means refused.
#[derive(Debug)]
pub(crate) struct Targets<'a> {
    pub(crate) tcp4: BorrowedFd<'a>,
    pub(crate) tcp6: Option<BorrowedFd<'a>>,
    pub(crate) udp4: BorrowedFd<'a>,
    pub(crate) udp6: Option<BorrowedFd<'a>>,
}

/// The attached program. Capturing ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Capture {
    link: OwnedFd,
}

impl Capture {
    /// The capture that a process before has attached.
    pub(crate) fn adopt(link: OwnedFd) -> Self {
        Self { link }
    }

    /// A second descriptor; capturing goes on as long as there is one.
    pub(crate) fn descriptor(&self) -> io::Result<OwnedFd> {
        self.link.try_clone()
    }
}

const KEY_TCP: i32 = 0;
const KEY_UDP: i32 = 2;

/// Attaches a capture to `namespace` that spares `own4` and `own6`, the container's addresses.
pub(crate) fn attach(
    namespace: BorrowedFd<'_>,
    targets: &Targets<'_>,
    own4: Ipv4Addr,
    own6: Ipv6Addr,
) -> io::Result<Capture> {
    let map = bpf::create_sockmap(4)?;
    let sockets = [
        Some(targets.tcp4),
        targets.tcp6,
        Some(targets.udp4),
        targets.udp6,
    ];
    for (key, socket) in (0u32..).zip(sockets) {
        if let Some(socket) = socket {
            bpf::set_socket(map.as_fd(), key, socket)?;
        }
    }
    let program = bpf::load_sk_lookup(&assemble(map.as_raw_fd(), own4, own6))?;
    let link = bpf::attach_sk_lookup(program.as_fd(), namespace)?;
    // The link holds the program and the program holds the map.
    Ok(Capture { link })
}

// Operation codes: class | size or operation | source, as in the kernel's instruction-set page.
const LDX_W: u8 = 0x61;
const STX_W: u8 = 0x63;
const LD_IMM64: u8 = 0x18;
const ADD64_K: u8 = 0x07;
const MOV64_K: u8 = 0xb7;
const MOV64_X: u8 = 0xbf;
const AND32_K: u8 = 0x54;
const JA: u8 = 0x05;
const JEQ64_K: u8 = 0x15;
const JEQ32_K: u8 = 0x16;
const JNE32_K: u8 = 0x56;
const CALL: u8 = 0x85;
const EXIT: u8 = 0x95;

const PSEUDO_MAP_FD: u8 = 1;
const MAP_LOOKUP_ELEM: i32 = 1;
const SK_RELEASE: i32 = 86;
const SK_ASSIGN: i32 = 124;
const SK_PASS: i32 = 1;

// Offsets in `struct bpf_sk_lookup`. Addresses are in network byte order.
const FAMILY: i16 = 8;
const PROTOCOL: i16 = 12;
const LOCAL_IP4: i16 = 40;
const LOCAL_IP6: i16 = 44;

/// Label of the end of the program, patched by [`Assembler::finish`].
const PASS: i16 = i16::MAX;
/// Label of the code that assigns the socket.
const ASSIGN: i16 = i16::MAX - 1;
/// Label of the IPv6 checks.
const INET6: i16 = i16::MAX - 2;
/// Label of the check for the container's own IPv6 address.
const OWN6: i16 = i16::MAX - 3;

#[derive(Default)]
struct Assembler {
    code: Vec<Insn>,
    labels: Vec<(i16, usize)>,
}

impl Assembler {
    fn op(&mut self, code: u8, dst: u8, src: u8, off: i16, imm: i32) -> &mut Self {
        let regs = if cfg!(target_endian = "little") {
            dst | src << 4
        } else {
            dst << 4 | src
        };
        self.code.push(Insn {
            code,
            regs,
            off,
            imm,
        });
        self
    }

    fn label(&mut self, label: i16) -> &mut Self {
        self.labels.push((label, self.code.len()));
        self
    }

    /// Replaces labels by distances.
    fn finish(mut self) -> Vec<Insn> {
        for (at, insn) in self.code.iter_mut().enumerate() {
            let target = self.labels.iter().find(|(label, _)| *label == insn.off);
            if let Some((_, target)) = target {
                insn.off = i16::try_from(target - at - 1).unwrap_or(0);
            }
        }
        self.code
    }
}

/// A word of an address as the program compares it: the bytes as they lie in memory.
fn word(bytes: [u8; 4]) -> i32 {
    i32::from_ne_bytes(bytes)
}

fn words(address: Ipv6Addr) -> [i32; 4] {
    let octets = address.octets();
    std::array::from_fn(|at| {
        let at = 4 * at;
        word([octets[at], octets[at + 1], octets[at + 2], octets[at + 3]])
    })
}

/// The program: r6 is the context, r7 the map key (protocol, then family).
fn assemble(map: i32, own4: Ipv4Addr, own6: Ipv6Addr) -> Vec<Insn> {
    let mut asm = Assembler::default();
    asm.op(MOV64_X, 6, 1, 0, 0)
        .op(LDX_W, 2, 6, PROTOCOL, 0)
        .op(MOV64_K, 7, 0, 0, KEY_TCP)
        .op(JEQ32_K, 2, 0, 2, libc::IPPROTO_TCP)
        .op(JNE32_K, 2, 0, PASS, libc::IPPROTO_UDP)
        .op(MOV64_K, 7, 0, 0, KEY_UDP)
        .op(LDX_W, 2, 6, FAMILY, 0)
        .op(JEQ32_K, 2, 0, INET6, libc::AF_INET6)
        .op(JNE32_K, 2, 0, PASS, libc::AF_INET);
    asm.op(LDX_W, 2, 6, LOCAL_IP4, 0)
        .op(JEQ32_K, 2, 0, PASS, word(own4.octets()))
        .op(AND32_K, 2, 0, 0, word([255, 0, 0, 0]))
        .op(JEQ32_K, 2, 0, PASS, word([127, 0, 0, 0]))
        .op(JA, 0, 0, ASSIGN, 0);
    inet6(&mut asm, own6);
    asm.label(ASSIGN)
        .op(STX_W, 10, 7, -4, 0)
        .op(LD_IMM64, 1, PSEUDO_MAP_FD, 0, map)
        .op(0, 0, 0, 0, 0)
        .op(MOV64_X, 2, 10, 0, 0)
        .op(ADD64_K, 2, 0, 0, -4)
        .op(CALL, 0, 0, 0, MAP_LOOKUP_ELEM)
        .op(JEQ64_K, 0, 0, PASS, 0)
        .op(MOV64_X, 7, 0, 0, 0)
        .op(MOV64_X, 1, 6, 0, 0)
        .op(MOV64_X, 2, 7, 0, 0)
        .op(MOV64_K, 3, 0, 0, 0)
        .op(CALL, 0, 0, 0, SK_ASSIGN)
        .op(MOV64_X, 1, 7, 0, 0)
        .op(CALL, 0, 0, 0, SK_RELEASE);
    asm.label(PASS)
        .op(MOV64_K, 0, 0, 0, SK_PASS)
        .op(EXIT, 0, 0, 0, 0);
    asm.finish()
}

/// Passes `::1`, `fe80::/10` and the container's own address.
fn inet6(asm: &mut Assembler, own6: Ipv6Addr) {
    let own = words(own6);
    let loopback = words(Ipv6Addr::LOCALHOST);
    asm.label(INET6)
        .op(ADD64_K, 7, 0, 0, 1)
        .op(LDX_W, 2, 6, LOCAL_IP6, 0)
        .op(LDX_W, 3, 6, LOCAL_IP6 + 4, 0)
        .op(LDX_W, 4, 6, LOCAL_IP6 + 8, 0)
        .op(LDX_W, 5, 6, LOCAL_IP6 + 12, 0)
        .op(JNE32_K, 2, 0, OWN6, loopback[0])
        .op(JNE32_K, 3, 0, OWN6, loopback[1])
        .op(JNE32_K, 4, 0, OWN6, loopback[2])
        .op(JEQ32_K, 5, 0, PASS, loopback[3]);
    asm.label(OWN6)
        .op(MOV64_X, 0, 2, 0, 0)
        .op(AND32_K, 0, 0, 0, word([0xff, 0xc0, 0, 0]))
        .op(JEQ32_K, 0, 0, PASS, word([0xfe, 0x80, 0, 0]))
        .op(JNE32_K, 2, 0, ASSIGN, own[0])
        .op(JNE32_K, 3, 0, ASSIGN, own[1])
        .op(JNE32_K, 4, 0, ASSIGN, own[2])
        .op(JEQ32_K, 5, 0, PASS, own[3]);
}
