#!/usr/bin/perl
# A small HTTP server that ends the way it is told to: GET /exit/<code>, or SIGTERM.
use strict;
use warnings;
use IO::Select;
use IO::Socket::INET;

$| = 1;
my $port = shift // 8080;
my $started = time;
$SIG{TERM} = sub { print "Received SIGTERM\n"; exit 0 };
$SIG{PIPE} = 'IGNORE';

my $server = IO::Socket::INET->new(LocalPort => $port, Listen => 64, ReuseAddr => 1)
    or die "cannot listen on port $port: $@\n";
my $sockets = IO::Select->new($server);
my %received;
print "Listening on port $port\n";

while (1) {
    for my $socket ($sockets->can_read) {
        if ($socket == $server) {
            $sockets->add(scalar $server->accept);
            next;
        }
        my $read = sysread $socket, $received{$socket}, 65536, length($received{$socket} // '');
        if ($read && $received{$socket} !~ /\r\n\r\n/) {
            next;    # the head is not complete yet
        }
        answer($socket, $received{$socket}) if $read;
        delete $received{$socket};
        $sockets->remove($socket);
        close $socket;
    }
}

sub answer {
    my ($socket, $request) = @_;
    my ($path) = $request =~ m{^\w+ ([^ ?]*)};
    my $code = ($path // '') =~ m{/exit/(\d+)$} ? $1 : undef;
    my $uptime = time - $started;
    my $body = defined $code ? "exiting with code $code\n" : "up for $uptime s\n";
    syswrite $socket, "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\n"
        . 'Content-Length: ' . length($body) . "\r\n\r\n$body";
    return unless defined $code;
    shutdown $socket, 1;
    print "Exiting with code $code\n";
    exit $code;
}
