/*
 * Measures TCP between a guest and a host, or between two guests.
 *
 *   netbench send ADDRESS PORT MS      send as fast as can be
 *   netbench receive ADDRESS PORT MS   receive what the other side sends
 *   netbench ping ADDRESS PORT MS      send one byte, wait for it to come back, again
 *   netbench serve PORT                be the other side, for any number of connections
 *
 * The first byte of a connection says what it is for: 's', 'r' or 'p'. Prints "NETBENCH name count seconds", the
 * count being bytes, or round trips.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <err.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define BUFFER_BYTES (256 << 10)

static char buffer[BUFFER_BYTES];

static double now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + time.tv_nsec * 1e-9;
}

static int tcp_socket(void)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0), on = 1;

    if (fd < 0)
        err(1, "socket");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    return fd;
}

/* Until the other side closes; returns the bytes. */
static unsigned long drain(int fd)
{
    unsigned long total = 0;
    ssize_t got;

    while ((got = read(fd, buffer, sizeof buffer)) > 0)
        total += got;
    return total;
}

static void fill(int fd)
{
    while (write(fd, buffer, sizeof buffer) > 0)
        ;
}

static void echo(int fd)
{
    char byte;

    while (read(fd, &byte, 1) == 1 && write(fd, &byte, 1) == 1)
        ;
}

static void serve(int port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    int listening = tcp_socket();

    if (bind(listening, (struct sockaddr *)&address, sizeof address) || listen(listening, 8))
        err(1, "bind");
    signal(SIGCHLD, SIG_IGN);
    signal(SIGPIPE, SIG_IGN);
    puts("NETBENCH serves");
    fflush(stdout);
    for (;;) {
        int fd = accept(listening, NULL, NULL), on = 1;
        char what;

        if (fd < 0 || fork()) {
            close(fd);
            continue;
        }
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        if (read(fd, &what, 1) != 1)
            _exit(1);
        if (what == 's')
            drain(fd);
        else if (what == 'r')
            fill(fd);
        else
            echo(fd);
        _exit(0);
    }
}

static int connect_to(const char *host, int port, char what)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    int fd = tcp_socket();

    if (inet_pton(AF_INET, host, &address.sin_addr) != 1)
        errx(1, "%s is no address", host);
    if (connect(fd, (struct sockaddr *)&address, sizeof address))
        err(1, "connect");
    if (write(fd, &what, 1) != 1)
        err(1, "write");
    return fd;
}

int main(int argc, char **argv)
{
    unsigned long count = 0;
    double start, end;
    char byte = 0;
    int fd;

    if (argc == 3 && !strcmp(argv[1], "serve"))
        serve(atoi(argv[2]));
    if (argc != 5)
        errx(2, "see the source");
    signal(SIGPIPE, SIG_IGN);
    fd = connect_to(argv[2], atoi(argv[3]), argv[1][0]);
    start = now();
    end = start + atoi(argv[4]) / 1e3;
    while (now() < end) {
        ssize_t done;

        if (argv[1][0] == 's')
            done = write(fd, buffer, sizeof buffer);
        else if (argv[1][0] == 'r')
            done = read(fd, buffer, sizeof buffer);
        else
            done = write(fd, &byte, 1) == 1 ? read(fd, &byte, 1) : -1;
        if (done <= 0)
            err(1, "%s", argv[1]);
        count += done;
    }
    if (argv[1][0] == 's') {
        /* What is only in the buffers of this side has not been sent. */
        shutdown(fd, SHUT_WR);
        drain(fd);
    }
    printf("NETBENCH %s %lu %f\n", argv[1], count, now() - start);
    return 0;
}
