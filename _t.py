from tests.support import pool_machine as m
try: m.explore(5,8)
finally: print(m.DONE)
