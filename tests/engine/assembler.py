"""The few x86-64 instructions that the guests here are made of, each a function that returns its bytes."""

from __future__ import annotations

NAMES = (
    "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
    "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15",
)  # fmt: skip

VMMCALL = b"\x0f\x01\xd9"
CPUID = b"\x0f\xa2"
RDMSR = b"\x0f\x32"
WRMSR = b"\x0f\x30"
HLT = b"\xf4"
PAUSE = b"\xf3\x90"
NOP = b"\x90"
CLI = b"\xfa"
STI = b"\xfb"
UD2 = b"\x0f\x0b"
INT3 = b"\xcc"
IRETQ = b"\x48\xcf"
SPIN = b"\xeb\xfe"
REP_OUTSB = b"\xf3\x6e"
REP_INSB = b"\xf3\x6c"
SYSCALL = b"\x0f\x05"


def number(name: str) -> int:
    return NAMES.index(name)


def imm32(value: int) -> bytes:
    return (value & 0xFFFFFFFF).to_bytes(4, "little")


def mov(register: str, value: int) -> bytes:
    """mov register, imm64"""
    r = number(register)
    return bytes([0x48 | r >> 3, 0xB8 | r & 7]) + (value & (1 << 64) - 1).to_bytes(8, "little")


def _memory(opcode: int, register: str, address: int) -> bytes:
    r = number(register)
    return bytes([0x48 | (r >> 3) << 2, opcode, 4 | (r & 7) << 3, 0x25]) + imm32(address)


def store(address: int, register: str) -> bytes:
    """mov [address], register; the address is below 2 GiB."""
    return _memory(0x89, register, address)


def load(register: str, address: int) -> bytes:
    """mov register, [address]"""
    return _memory(0x8B, register, address)


def increment(address: int) -> bytes:
    """incq [address]"""
    return b"\x48\xff\x04\x25" + imm32(address)


def store_via(pointer: str, register: str) -> bytes:
    """mov [pointer], register; neither is rsp, rbp, r12 or r13."""
    p, r = number(pointer), number(register)
    return bytes([0x48 | (r >> 3) << 2 | p >> 3, 0x89, (r & 7) << 3 | p & 7])


def load_via(register: str, pointer: str) -> bytes:
    """mov register, [pointer]"""
    p, r = number(pointer), number(register)
    return bytes([0x48 | (r >> 3) << 2 | p >> 3, 0x8B, (r & 7) << 3 | p & 7])


def load_sse(register: int, address: int) -> bytes:
    """movups xmm, [address]"""
    rex = b"\x44" if register > 7 else b""
    return rex + bytes([0x0F, 0x10, 4 | (register & 7) << 3, 0x25]) + imm32(address)


def store_sse(address: int, register: int) -> bytes:
    """movups [address], xmm"""
    rex = b"\x44" if register > 7 else b""
    return rex + bytes([0x0F, 0x11, 4 | (register & 7) << 3, 0x25]) + imm32(address)


def far_jump_to(address: int) -> bytes:
    """mov rax, address; jmp rax"""
    return mov("rax", address) + b"\xff\xe0"


def call(address: int) -> bytes:
    """mov rax, address; call rax"""
    return mov("rax", address) + b"\xff\xd0"


def lgdt(address: int) -> bytes:
    return b"\x0f\x01\x14\x25" + imm32(address)


def lidt(address: int) -> bytes:
    return b"\x0f\x01\x1c\x25" + imm32(address)


def load_task_register(selector: int) -> bytes:
    """mov eax, selector; ltr ax"""
    return b"\xb8" + imm32(selector) + b"\x0f\x00\xd8"


def wrmsr(msr: int, value: int) -> bytes:
    return mov("rcx", msr) + mov("rax", value & 0xFFFFFFFF) + mov("rdx", value >> 32) + WRMSR


def rdmsr(msr: int) -> bytes:
    return mov("rcx", msr) + RDMSR


def push(value: int) -> bytes:
    """push imm32"""
    return b"\x68" + imm32(value)
