/* Printing: by console_io, or byte by byte to the debug port. */
#include "guest.h"
#include "cpu.h"

#define LINE_BYTES 512

struct line {
    char text[LINE_BYTES];
    size_t length;
};

static void put(struct line *line, char c)
{
    if (line->length < LINE_BYTES)
        line->text[line->length++] = c;
}

static void put_number(struct line *line, uint64_t value, unsigned int base, size_t width)
{
    char digits[24];
    size_t count = 0;

    do {
        digits[count++] = "0123456789abcdef"[value % base];
        value /= base;
    } while (value);
    for (; width > count; width--)
        put(line, '0');
    while (count)
        put(line, digits[--count]);
}

/* %s %c %d %u %x %p, with # and l and a width, which pads with zeros */
static void format_line(struct line *line, const char *format, va_list arguments)
{
    for (; *format; format++) {
        bool alternate = false, wide = false;
        size_t width = 0;
        uint64_t value;

        if (*format != '%') {
            put(line, *format);
            continue;
        }
        for (format++; *format == '#' || *format == 'l' || (*format >= '0' && *format <= '9'); format++) {
            alternate |= *format == '#';
            wide |= *format == 'l';
            if (*format >= '0' && *format <= '9')
                width = width * 10 + *format - '0';
        }
        switch (*format) {
        case 's':
            for (const char *text = va_arg(arguments, const char *); *text; text++)
                put(line, *text);
            break;
        case 'c':
            put(line, va_arg(arguments, int));
            break;
        case 'd':
            value = wide ? va_arg(arguments, long) : va_arg(arguments, int);
            if ((int64_t)value < 0) {
                put(line, '-');
                value = -value;
            }
            put_number(line, value, 10, width);
            break;
        case 'u':
            value = wide ? va_arg(arguments, unsigned long) : va_arg(arguments, unsigned int);
            put_number(line, value, 10, width);
            break;
        case 'p':
        case 'x':
            wide |= *format == 'p';
            value = wide ? va_arg(arguments, unsigned long) : va_arg(arguments, unsigned int);
            if (alternate || *format == 'p') {
                put(line, '0');
                put(line, 'x');
            }
            put_number(line, value, 16, width);
            break;
        default:
            put(line, *format);
        }
    }
}

void console_write(const char *text, size_t length)
{
    hypercall3(__HYPERVISOR_console_io, CONSOLEIO_write, length, (uint64_t)text);
}

void debug_port_write(const char *text, size_t length)
{
    while (length--)
        outb(0xe9, *text++);
}

void printk(const char *format, ...)
{
    struct line line = { .length = 0 };
    va_list arguments;

    va_start(arguments, format);
    format_line(&line, format, arguments);
    va_end(arguments);
    console_write(line.text, line.length);
}

void count_failure(void);

void fail(const char *file, int number, const char *format, ...)
{
    struct line line = { .length = 0 };
    va_list arguments;

    for (const char *rest = file; *rest; rest++)
        if (*rest == '/')
            file = rest + 1;
    count_failure();
    va_start(arguments, format);
    format_line(&line, format, arguments);
    va_end(arguments);
    put(&line, '\n');
    printk("FAILURE: %s:%d: ", file, number);
    console_write(line.text, line.length);
}
