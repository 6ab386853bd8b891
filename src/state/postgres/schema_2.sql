-- The ids of the keys that encrypt stored values. A value begins with 1 and the id of its key.
CREATE TABLE jackfield_encryption_keys (id bytea PRIMARY KEY);
INSERT INTO jackfield_encryption_keys
    SELECT substr(payload, 2, 4) FROM jackfield_jobs WHERE substr(payload, 1, 1) = '\x01'
    UNION SELECT substr(value, 2, 4) FROM jackfield_memories WHERE substr(value, 1, 1) = '\x01'
    UNION SELECT substr(answer, 2, 4) FROM jackfield_calls WHERE substr(answer, 1, 1) = '\x01';
