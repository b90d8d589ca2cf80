CREATE TABLE users (id SERIAL PRIMARY KEY, username VARCHAR(50), password varchar(50));
INSERT INTO users (username, password) VALUES ('username', 'password');
INSERT INTO users (username, password) VALUES ('Ada', 'correct horse');
