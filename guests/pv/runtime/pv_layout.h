/* Numbers that C and assembler share. */
#ifndef PV_LAYOUT_H
#define PV_LAYOUT_H

#include "layout.h"

#define VIRT_BASE 0xffffffff80000000

#define FLAT_CS32 0xe023
#define FLAT_DS 0xe02b
#define FLAT_CS64 0xe033

#define HYPERCALL_IRET 23

/* pseudo vectors of the callbacks, by CALLBACKTYPE_* */
#define CALLBACK_VECTOR 0x100
#define CALLBACKS 8

#endif
