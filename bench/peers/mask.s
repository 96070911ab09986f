// Empty: functions without a body need an assembly file beside them.
