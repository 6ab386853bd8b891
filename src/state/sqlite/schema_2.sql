-- The ids of the keys that encrypt stored values. A value begins with 1 and the id of its key.
CREATE TABLE encryption_keys (id BLOB PRIMARY KEY) WITHOUT ROWID;
INSERT INTO encryption_keys
    SELECT substr(payload, 2, 4) FROM jobs WHERE substr(payload, 1, 1) = x'01'
    UNION SELECT substr(value, 2, 4) FROM memories WHERE substr(value, 1, 1) = x'01'
    UNION SELECT substr(answer, 2, 4) FROM calls WHERE substr(answer, 1, 1) = x'01';
