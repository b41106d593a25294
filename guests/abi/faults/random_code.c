/* Random bytes run as a program, "snippets=" times from "seed="; each ends by a fault or by the next timer tick. */
#include "guest.h"

#include "apic.h"
#include "memory.h"
#include "random.h"
#include "traps.h"

#define CODE FREE_VIRTUAL
#define DATA (FREE_VIRTUAL + 0x10000)
#define TICK 0x40

void test_main(void)
{
    uint64_t snippets = option("snippets", 100), ticks = 0, *code = allocate_page();
    struct fault fault;

    random_seed(option("seed", 1));
    map_page(CODE, (uint64_t)code, PTE_PRESENT | PTE_USER);
    for (unsigned int i = 0; i < 4; i++)
        map_page(DATA + i * PAGE_SIZE, (uint64_t)allocate_page(), PTE_PRESENT | PTE_WRITE | PTE_USER | PTE_NX);
    apic_write(APIC_SVR, APIC_SVR_ENABLE | 0xff);
    apic_write(APIC_TIMER_DIVIDE, 0xb);
    apic_write(APIC_LVT_TIMER, TICK);
    for (uint64_t i = 0; i < snippets; i++) {
        if (i % 16 == 0)
            for (unsigned int j = 0; j < 512; j++)
                code[j] = random();
        apic_write(APIC_TIMER_INITIAL, 100000);
        catch_fault(fault, enter_user_mode(CODE + random() % 4096, DATA + 0x2000, EFLAGS_IF));
        expect(fault.vector != NO_FAULT);
        if (fault.vector == TICK) {
            apic_write(APIC_EOI, 0);
            ticks++;
        }
    }
    printk("%lu snippets ended by the clock\n", ticks);
}
