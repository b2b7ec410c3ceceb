"""The Qoro service, as Divi's `QoroService` speaks to it."""
