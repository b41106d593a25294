/* Grants of version 1, in the first frame of the table; nodes by requests one after the other. */
#include "guest.h"

#include <xen/errno.h>
#include <xen/memory.h>

#include "device.h"
#include "events.h"
#include "memory.h"
#include "xenstore_ring.h"

#define FRONTEND "device/vif2/0/"
#define TEXT_BYTES 256

static page_t table_page;
static char backend[TEXT_BYTES];
static grant_ref_t next_ref = GNTTAB_NR_RESERVED_ENTRIES;

void device_init(void)
{
    struct xen_add_to_physmap argument = {
        .domid = DOMID_SELF, .space = XENMAPSPACE_grant_table, .gpfn = gfn_of(&table_page),
    };

    expect_equal(hypercall(__HYPERVISOR_memory_op, XENMEM_add_to_physmap, &argument), 0);
    store_init();
    read_node("backend", backend, sizeof(backend));
}

grant_ref_t grant_page(const void *page, uint16_t flags)
{
    volatile grant_entry_v1_t *entry = (grant_entry_v1_t *)&table_page + next_ref;

    entry->domid = 0;
    entry->frame = gfn_of(page);
    entry->flags = GTF_permit_access | flags;
    return next_ref++;
}

evtchn_port_t open_port(void)
{
    struct evtchn_alloc_unbound argument = { .dom = DOMID_SELF, .remote_dom = 0 };

    expect_equal(hypercall(__HYPERVISOR_event_channel_op, EVTCHNOP_alloc_unbound, &argument), 0);
    return argument.port;
}

void sleep_for_events(evtchn_port_t *ports, unsigned int count, uint64_t ns)
{
    struct sched_poll argument = { .nr_ports = count, .timeout = system_time() + ns };

    set_xen_guest_handle(argument.ports, ports);
    hypercall(__HYPERVISOR_sched_op, SCHEDOP_poll, &argument);
}

static char *append(char *to, const char *text)
{
    while (*text)
        *to++ = *text++;
    *to = 0;
    return to;
}

static char *append_number(char *to, uint64_t value)
{
    char digits[24];
    unsigned int at = sizeof(digits) - 1;

    digits[at] = 0;
    do {
        digits[--at] = '0' + value % 10;
        value /= 10;
    } while (value);
    return append(to, digits + at);
}

void write_node(const char *name, int queue, int number, uint64_t value)
{
    char request[TEXT_BYTES], answer[TEXT_BYTES], *end = append(request, FRONTEND);

    if (queue >= 0)
        end = append(append_number(append(end, "queue-"), queue), "/");
    end = append(end, name);
    if (number >= 0)
        end = append_number(end, number);
    end = append_number(end + 1, value);
    store_ask(XS_WRITE, 1, request, end - request);
    expect_equal(store_answer(1, answer, sizeof(answer)), XS_WRITE);
}

static uint32_t read_path(const char *directory, const char *name, char *text, uint32_t size)
{
    char path[TEXT_BYTES], *end = append(append(path, directory), name);

    store_ask(XS_READ, 2, path, end + 1 - path);
    return store_answer(2, text, size);
}

void read_node(const char *name, char *text, uint32_t size)
{
    expect_equal(read_path(FRONTEND, name, text, size), XS_READ);
}

void switch_state(XenbusState state)
{
    write_node("state", -1, -1, state);
}

XenbusState backend_state(void)
{
    char text[TEXT_BYTES];

    return read_path(backend, "/state", text, sizeof(text)) == XS_READ ? (XenbusState)(text[0] - '0')
                                                                       : XenbusStateClosed;
}

void await_backend(XenbusState state)
{
    for (unsigned int tries = 0; tries < 1000 && backend_state() != state; tries++)
        sleep_for_events(NULL, 0, 10 * MILLISECONDS);
    expect_equal(backend_state(), state);
}
