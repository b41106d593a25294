/*
 * What an engine's processor is to this code: functions that each engine defines, for the compiler to put in place.
 *
 * Before it includes this, an engine says what its segment registers are: segment_register, a structure that has
 * selector and base, and whatever else its load_segment() fills in.
 */
#ifndef XENOLITH_PV_ENGINE_H
#define XENOLITH_PV_ENGINE_H

#include "trap_context.h"

/* The sixteen general registers in the order of instructions, and RIP. */
static uint64_t *general_registers(const struct trap_context *context);

/* RFLAGS; what is stored is what a guest may have: read_flags() and write_flags() see to that. */
static uint64_t load_rflags(const struct trap_context *context);
static void store_rflags(struct trap_context *context, uint64_t rflags);

/* CR2 */
static uint64_t fault_address(const struct trap_context *context);

/* A segment register by its number in instructions: SEG_ES to SEG_GS. */
static segment_register *segment(const struct trap_context *context, int number);

/* Fill in a segment register from the two words of a descriptor. */
static void load_segment(segment_register *segment, uint32_t selector, uint32_t low, uint32_t high);

static int is_64bit_code(const segment_register *code);

/* The privilege level of Xen's flat segments in the mode that the guest is in, and of code that runs on them. */
static uint32_t privilege_level(const struct trap_context *context);

/* Called when CS and SS have been loaded, in the mode in which the guest goes on with them. */
static void segments_loaded(struct trap_context *context);

/* Called when the mode's page table of level 4 may be another one. */
static void root_changed(struct trap_context *context);

/* Called in a trap before the guest gets other segments: what was translated for it may depend on those it has. */
static void leave_guest_code(struct trap_context *context);

/* Forget the translations that native code has made obsolete. */
static void forget_translations(struct trap_context *context, const struct native_trap *trap);

#endif
