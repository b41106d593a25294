/* vCPUs: each has a stack, a task state segment and a struct vcpu. */
#ifndef SMP_H
#define SMP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <xen/xen.h>

#include "layout.h"

struct fault {
    int vector;
    uint64_t error_code, rip, cr2, rflags;
};

struct vcpu {
    unsigned int id;
    void (*entry)(void);
    volatile bool running, ended;
    void **recovery;
    struct fault fault;
    struct vcpu_info *info;
    struct __attribute__((packed)) {
        uint32_t reserved0;
        uint64_t rsp[3], reserved1, ist[7], reserved2;
        uint16_t reserved3, io_bitmap;
    } tss;
};

extern struct vcpu vcpus[MAX_VCPUS];

/* told by the task register, which no user can change */
static inline struct vcpu *this_vcpu(void)
{
    uint64_t selector;

    __asm__ volatile("str %0" : "=r"(selector));
    return &vcpus[(selector - FIRST_TSS) / 16];
}

/* run entry() on another vCPU, which goes down when that returns */
void start_vcpu(unsigned int id, void (*entry)(void));      /* by VCPUOP_initialise and VCPUOP_up */
void start_vcpu_sipi(unsigned int id, void (*entry)(void)); /* by INIT and start-up IPI */
void wait_until_ended(unsigned int id);

void smp_init(void); /* the runtime's own */

#endif
