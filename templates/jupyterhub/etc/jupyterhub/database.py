# The database is on another host. The Hub does nothing else while it tries to connect: after a
# failure it refuses at once for some seconds, or everyone would wait for everyone before.
_down_until = 0


@event.listens_for(Engine, "do_connect")
def refuse_at_once(dialect, record, arguments, options):
    global _down_until
    if time.monotonic() < _down_until:
        raise dialect.loaded_dbapi.OperationalError("the database did not answer a moment ago")
    try:
        return dialect.connect(*arguments, **options)
    except dialect.loaded_dbapi.OperationalError:
        _down_until = time.monotonic() + 5
        raise


